"""The JSON form of what agent and keeper tell each other."""

import json

import pytest

from services.nodeagent.runtime.model import (
    Capabilities,
    ContainerSpec,
    ContainerState,
    ContainerStats,
    Mount,
    Resources,
    Rlimit,
    SandboxSpec,
    decode,
    encode,
)


def test_a_container_spec_survives_json_with_everything_nested() -> None:
    spec = ContainerSpec(
        "id",
        "sandbox",
        "name",
        ["sh", "-c", "true"],
        env={"A": "b"},
        mounts=[Mount("/a", "/b", read_only=True), Mount("", "/t", kind="tmpfs", options=["size=1m"])],
        capabilities=Capabilities(add=["NET_ADMIN"]),
        resources=Resources(memory_bytes=1, cpu_shares=2),
        rlimits={"nofile": Rlimit(1, 2)},
        labels={"k": "v"},
    )
    assert decode(ContainerSpec, json.loads(json.dumps(encode(spec)))) == spec


@pytest.mark.parametrize("resources", [None, Resources(pids=5)])
def test_a_sandbox_may_have_no_resources(resources: Resources | None) -> None:
    spec = SandboxSpec("id", resources=resources)
    assert decode(SandboxSpec, json.loads(json.dumps(encode(spec)))) == spec


def test_keys_of_a_newer_version_are_ignored_and_missing_ones_take_their_default() -> None:
    state = decode(ContainerState, {"id": "a", "sandbox_id": "b", "name": "c", "state": "running", "colour": "blue"})
    assert state == ContainerState("a", "b", "c", "running")


def test_a_missing_required_key_is_an_error() -> None:
    with pytest.raises(TypeError, match="argv"):
        decode(ContainerSpec, {"id": "a", "sandbox_id": "b", "name": "c"})


def test_statistics_carry_counters_id_and_time() -> None:
    stats = ContainerStats(cpu_ns=1, id="a", time=2.0)
    assert decode(ContainerStats, encode(stats)) == stats
