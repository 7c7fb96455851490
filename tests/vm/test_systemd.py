"""Where systemd owns the tree of control groups and hands a part of it to Wherry's unit."""

from __future__ import annotations

from tests.vm.machine import Machine


def test_a_unit_with_delegation_keeps_to_its_own_groups(vm: Machine) -> None:
    vm.pytest("unit", "tests/integration/runtime/test_delegated_unit.py", systemd=True)
