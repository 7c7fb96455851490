"""Processes that criu writes down and restores: this kernel is one that Debian's criu knows."""

from __future__ import annotations

from tests.vm.machine import WITH_PACKAGES, Machine


def test_containers_and_pods_go_on_from_a_checkpoint(vm: Machine) -> None:
    vm.pytest("criu", "tests/integration/checkpoint", before=WITH_PACKAGES)
