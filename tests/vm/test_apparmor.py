"""Profiles of AppArmor, by which Debian's kernel confines unless it is told not to."""

from __future__ import annotations

from tests.vm.machine import WITH_PACKAGES, Machine


def test_containers_are_confined_by_profiles(vm: Machine) -> None:
    vm.pytest(
        "apparmor",
        "tests/integration/runtime/test_apparmor.py",
        "tests/integration/oci/test_oci_apparmor.py",
        before=WITH_PACKAGES,
    )
