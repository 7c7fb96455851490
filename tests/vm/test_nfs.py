"""Volumes on a server of NFS: this kernel is both ends."""

from __future__ import annotations

from tests.vm.machine import WITH_PACKAGES, Machine


def test_volumes_are_mounted_from_a_server(vm: Machine) -> None:
    vm.pytest("nfs", "tests/integration/nodeagent/test_nfs_on_node.py", before=WITH_PACKAGES)
