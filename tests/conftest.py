"""What holds for all tests: how hypothesis draws, and the closing line that says how many passed and failed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.outcomes import leave

# The same examples in every run, so that a red run is the fault of the change; the other profile looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

outcomes: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    # A test counts once: by its call, or by the set-up or tear-down that went wrong.
    if report.when == "call" or report.outcome != "passed":
        outcomes[report.outcome] += 1
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    leave(outcomes)
