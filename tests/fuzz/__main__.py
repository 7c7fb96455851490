"""`make fuzz`: search for bytes that break a target, led by the code they reach (atheris, libFuzzer).

python -m tests.fuzz TARGET [SECONDS]: finds are written to tests/fuzz/finds; one that is fixed belongs in the corpus.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services.apiserver", "shared.objects"]):
    from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent


def main() -> None:
    name, seconds = (*sys.argv[1:], "60")[:2]
    if name not in TARGETS:
        sys.exit(f"there is no target {name!r}; there are {', '.join(TARGETS)}")
    finds, known, found = HERE / "finds", HERE / "corpus" / name, Path("/var/tmp/wherry-fuzz") / name
    for directory in (finds, known, found):
        directory.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={finds}/{name}-", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, str(found), str(known)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
