"""What holds for all tests: the closing line that says how many passed and failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

outcomes: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    # A test counts once: by its call, or by the set-up or tear-down that went wrong.
    if report.when == "call" or report.outcome != "passed":
        outcomes[report.outcome] += 1
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    if outcomes:
        skipped = f", {outcomes['skipped']} skipped" if outcomes["skipped"] else ""
        print(f"{outcomes['passed']} passed, {outcomes['failed']} failed{skipped}")
