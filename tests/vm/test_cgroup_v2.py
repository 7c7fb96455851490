"""Control groups where cgroup2 has all controllers, and a keeper with all capabilities."""

from __future__ import annotations

from tests.vm.machine import Machine

RUNTIME = "tests/integration/runtime"
CONTAINERS = f"{RUNTIME}/test_containers.py"
OCI = "tests/integration/oci/test_oci_surroundings.py"


def test_limits_kills_freezing_pressure_and_what_a_keeper_makes_of_them(vm: Machine) -> None:
    vm.pytest(
        "groups",
        f"{RUNTIME}/test_unified_groups.py",
        f"{RUNTIME}/test_capable_host.py",
        f"{RUNTIME}/test_layouts.py::test_a_container_runs_is_frozen_and_ends[v2]",
        f"{CONTAINERS}::test_a_container_above_its_memory_limit_is_reported_as_killed_for_memory",
        f"{CONTAINERS}::test_limits_are_visible_inside_and_can_be_changed",
        f"{CONTAINERS}::test_a_device_made_by_the_container_can_be_opened_only_if_it_is_a_standard_one",
        f"{OCI}::test_the_speed_of_a_device_is_limited",
        f"{OCI}::test_weights_and_limits_of_huge_pages_are_set_in_the_second_generation",
        f"{OCI}::test_limits_are_set_and_changed_in_its_control_groups",
        "tests/integration/nodeagent/test_agent_with_keeper.py::test_too_much_memory_reads_as_oom_killed",
        before="modprobe loop",
    )
