"""A whole cluster in the guest, with criu and under systemd, seen from outside as a user would, over two boots."""

from __future__ import annotations

import os

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.skipif(
    "WHERRY_TEST_VM_CLUSTER" not in os.environ, reason="two boots of several minutes: `make test-vm` has them"
)


class Boots:
    """One disk and its machine, started again and again."""

    def __init__(self, vm: Machine) -> None:
        self._vm = vm
        self._disk = vm.disk("cluster")

    def boot(self, stage: str, *, ends: bool) -> None:
        """Run a stage of tests/vm/cluster.py, which leaves an exit status only if it `ends` by itself."""
        outcome = self._vm.python(f"cluster-{stage}", "-m", "tests.vm.cluster", stage, systemd=True, disk=self._disk)
        if outcome.status != (0 if ends else None):
            pytest.fail(f"{stage}: {outcome.explain()}", pytrace=False)


@pytest.fixture(scope="module")
def boots(vm: Machine) -> Boots:
    return Boots(vm)


@pytest.fixture(scope="module")
def moved(boots: Boots) -> None:
    boots.boot("first", ends=False)


@pytest.fixture(scope="module")
def powered_again(boots: Boots, moved: None) -> None:
    boots.boot("second", ends=True)


@pytest.mark.usefixtures("moved")
def test_pods_are_written_restored_and_moved_and_stay_when_they_cannot_be() -> None:
    """The stage `first`."""


@pytest.mark.usefixtures("powered_again")
def test_everything_is_back_after_a_loss_of_power() -> None:
    """The stage `second`."""
