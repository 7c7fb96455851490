"""What `wherry up` says of a cluster that is not ready in time."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from shared.cli import readiness
from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.readiness import Readiness
from shared.cli.supervise import start_time
from shared.identity.pki import ensure_pki


def node(name: str, status: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "Ready", "status": status, "message": message}
    return {
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "PIDPressure", "status": "True"}, condition]},
    }


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(Cluster, "run", tmp_path / "run")
    ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    return Cluster(tmp_path, nodes=("node-1", "node-2"), api_port=1)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the API server answers for its nodes, of which each agent answers that it serves."""
    listed: list[dict[str, Any]] = []
    monkeypatch.setattr(ApiSession, "get", lambda *_: {"items": listed})
    monkeypatch.setattr(readiness, "agent_ready", lambda _: True)
    return listed


def runs(cluster: Cluster, process: str) -> None:
    record = cluster.run / "processes" / f"{process}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"pid": os.getpid(), "start_time": start_time(os.getpid())}))


def test_a_silent_api_server_is_told_from_one_that_is_down(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"not ready after 0 s: the API server is down \(see .*apiserver\.log and "):
        Readiness(cluster, 0).wait_api()
    runs(cluster, "apiserver")
    with pytest.raises(ClusterError, match=r"the API server does not answer yet .* `wherry up --timeout 10m` waits"):
        Readiness(cluster, 0).wait_api()


def test_every_node_that_is_missing_is_named_with_the_reason(cluster: Cluster, nodes: list[dict[str, Any]]) -> None:
    cluster = dataclasses.replace(cluster, nodes=("node-1", "node-2", "node-3", "node-4"))
    nodes += [node("node-1", "True"), node("node-2", "False", "the runtime is down")]
    runs(cluster, "node-3.agent")
    told: list[str] = []
    with pytest.raises(ClusterError) as caught:
        Readiness(cluster, 0).wait_nodes(told.append)
    log = cluster.logs
    assert str(caught.value).startswith(
        f"not ready after 0 s: node-2 is not Ready: the runtime is down (see {log}/node-2.agent.log); node-3 has not "
        f"registered (see {log}/node-3.agent.log); node-4 has no running agent (see {log}/node-4.agent.log); "
    )
    assert told == [f"1 of 4; node-2 is not Ready: the runtime is down (see {log}/node-2.agent.log)"]


def test_a_condition_of_an_earlier_run_does_not_stand_for_the_agent(
    cluster: Cluster, nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes += [node("node-1", "True"), node("node-2", "True")]
    monkeypatch.setattr(readiness, "agent_ready", lambda address: address == cluster.node_address("node-1"))
    with pytest.raises(ClusterError, match=r"not ready after 0 s: node-2's agent does not answer \(see "):
        Readiness(cluster, 0).wait_nodes(lambda _: None)


def test_the_nodes_are_returned_when_all_are_ready(cluster: Cluster, nodes: list[dict[str, Any]]) -> None:
    nodes += [node("node-1", "True"), node("node-2", "True")]
    told: list[str] = []
    assert Readiness(cluster, 0).wait_nodes(told.append) == nodes
    assert told == ["2 of 2"]
