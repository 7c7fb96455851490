"""How many tests ended how: the closing line of a run, and of several that ran beside each other."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

FILE = "WHERRY_TEST_OUTCOMES"
"""The environment variable that names a file in which a run leaves its outcomes for whoever started it."""


def closing_line(outcomes: Counter[str]) -> str:
    """`N passed, N failed`, and what was skipped."""
    skipped = f", {outcomes['skipped']} skipped" if outcomes["skipped"] else ""
    return f"{outcomes['passed']} passed, {outcomes['failed']} failed{skipped}"


def leave(outcomes: Counter[str]) -> None:
    """Write the outcomes where the starter of this run looks for them, or else print the closing line."""
    if path := os.environ.get(FILE):
        Path(path).write_text(json.dumps(outcomes))
    elif outcomes:
        print(closing_line(outcomes))


def found(path: Path, code: int) -> Counter[str]:
    """The outcomes that a run left, given its exit code: one that failed without a failed test counts as a failure."""
    outcomes = Counter(json.loads(path.read_text())) if path.exists() else Counter[str]()
    if code and not outcomes["failed"]:
        outcomes["failed"] = 1
    return outcomes
