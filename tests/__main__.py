"""All tests, in two lanes beside each other: `python -m tests`, which `make test` runs.

Tests of integration and of a whole cluster wait most of their time, for leases to expire and processes to start; unit
tests and the emulated virtual machine compute. Side by side they take little longer than the first lane alone. What
computes gives way to what has deadlines. No new directory has to be entered anywhere: what is not named here waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO

from tests.outcomes import FILE, closing_line, found

COMPUTING = ("tests/unit", "tests/vm")
# half the share of the processors when both lanes want them, and twice the time for everything
NICENESS = 3
# what takes longer is listed at the end
LONG_S = 5.0
SLOWNESS = "2"


def main() -> int:
    """Run both lanes; show the waiting one as it goes, then the other, and last how many tests passed and failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="wherry-lanes-") as name, (Path(name) / "computing.log").open("w+") as log:
        waits, computes = Path(name) / "waiting", Path(name) / "computing"
        computing = start(computes, *COMPUTING, output=log, niceness=NICENESS)
        waiting = start(waits, *(f"--ignore={path}" for path in COMPUTING))
        try:
            codes = (waiting.wait(), computing.wait())
        except BaseException:
            for lane in (waiting, computing):
                lane.send_signal(signal.SIGINT)
                lane.wait()
            raise
        log.seek(0)
        print(f"\n=== beside these: {' '.join(COMPUTING)} ===\n{log.read()}")
        outcomes = Counter[str]()
        for path, code in zip((waits, computes), codes, strict=True):
            outcomes.update(found(path, code))
    print(closing_line(outcomes))
    return max(codes)


def start(outcomes: Path, *arguments: str, output: IO[str] | None = None, niceness: int = 0) -> subprocess.Popen[bytes]:
    """Start pytest; it leaves its outcomes in a file. What it keeps for the next run is apart for each lane."""
    environment = {"WHERRY_TEST_SLOWNESS": SLOWNESS, **os.environ, FILE: str(outcomes)}
    if niceness:
        # the other lane keeps the shorter path, as names of sockets are limited (unix(7))
        temporary = Path(tempfile.gettempdir()) / outcomes.name
        temporary.mkdir(exist_ok=True)
        environment["PYTEST_DEBUG_TEMPROOT"] = str(temporary)
    own = ("-o", f"cache_dir=.pytest_cache/{outcomes.name}", "--durations=30", f"--durations-min={LONG_S:g}")
    command = [sys.executable, "-m", "pytest", *own, *arguments]
    stderr = None if output is None else subprocess.STDOUT
    # SIGINT, by which pytest tidies up, is ignored below a shell's background job unless somebody turns it on again
    started = ["env", "--default-signal=INT", "nice", "-n", str(niceness), *command]
    return subprocess.Popen(started, env=environment, stdout=output, stderr=stderr)


if __name__ == "__main__":
    sys.exit(main())
