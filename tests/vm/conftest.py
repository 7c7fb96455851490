"""The virtual machine for the tests of this directory; where none can be had, they are skipped with one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.timeout(machine.LIMIT_S + 60))


@pytest.fixture(scope="session")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[machine.Machine]:
    reason = machine.missing()
    if reason:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("vm")
    try:
        yield machine.Machine(directory)
    finally:
        shutil.rmtree(directory)
