"""Custom resources with more than one API server: all follow the log, whoever wrote to it, and survive their end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.slowness import LIMIT_S

KUBECTL = Path(__file__).parents[3] / ".cache" / "tools" / "kubectl"
PATIENCE = f"--timeout={LIMIT_S:g}s"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.river.example"},
    "spec": {
        "group": "river.example",
        "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"crew": {"type": "integer", "default": 2}},
                                "x-kubernetes-validations": [{"rule": "self.crew < 5", "message": "too many"}],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def boat(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "river.example/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec}


def kubectl(server: ApiServerProcess, *arguments: str, body: Any = None, check: bool = True) -> str:
    """Run kubectl with a cache of its own for each server; its output and errors."""
    command = [str(KUBECTL), "--kubeconfig", str(server.kubeconfig), "--cache-dir", f"{server.directory}/cache"]
    text = json.dumps(body) if body is not None else None
    result = subprocess.run([*command, *arguments], input=text, capture_output=True, text=True, timeout=2 * LIMIT_S)
    assert not check or result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def servers(nats_server: NatsServer, tmp_path: Path) -> Iterator[tuple[ApiServerProcess, ApiServerProcess]]:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with ApiServerProcess(nats_server, first) as one, ApiServerProcess(nats_server, second) as other:
        yield one, other


def test_a_definition_made_at_one_server_is_served_by_the_other(
    servers: tuple[ApiServerProcess, ApiServerProcess],
) -> None:
    one, other = servers
    kubectl(one, "create", "-f", "-", body=DEFINITION)
    kubectl(other, "wait", "--for=condition=Established", "crd/boats.river.example", PATIENCE)
    kubectl(other, "create", "-f", "-", body=boat("punt"))
    assert json.loads(kubectl(one, "get", "boat", "punt", "-o", "json"))["spec"] == {"crew": 2}
    assert "too many" in kubectl(other, "create", "-f", "-", body=boat("galley", crew=200), check=False)
    kubectl(one, "delete", "crd", "boats.river.example", PATIENCE)
    assert "NotFound" in kubectl(other, "get", "--raw", "/apis/river.example/v1/boats", check=False)


def test_definitions_and_their_objects_outlive_the_servers(
    servers: tuple[ApiServerProcess, ApiServerProcess],
) -> None:
    one, other = servers
    kubectl(one, "create", "-f", "-", body=DEFINITION)
    kubectl(one, "wait", "--for=condition=Established", "crd/boats.river.example", PATIENCE)
    kubectl(one, "create", "-f", "-", body=boat("punt", crew=3))
    one.kill()
    assert json.loads(kubectl(other, "get", "boat", "punt", "-o", "json"))["spec"] == {"crew": 3}
    one.start()
    kubectl(one, "patch", "boat", "punt", "--type=merge", "-p", '{"spec":{"crew":4}}')
    assert kubectl(other, "get", "boat", "punt", "-o", "jsonpath={.spec.crew}") == "4"


def test_the_cleaning_of_a_definition_is_finished_by_whoever_is_left(
    servers: tuple[ApiServerProcess, ApiServerProcess],
) -> None:
    one, other = servers
    kubectl(one, "create", "-f", "-", body=DEFINITION)
    kubectl(one, "wait", "--for=condition=Established", "crd/boats.river.example", PATIENCE)
    for number in range(20):
        kubectl(one, "create", "-f", "-", body=boat(f"raft-{number}"))
    kubectl(one, "delete", "crd", "boats.river.example", "--wait=false")
    one.kill()
    kubectl(other, "wait", "--for=delete", "crd/boats.river.example", PATIENCE)
    assert "NotFound" in kubectl(other, "get", "--raw", "/apis/river.example/v1/boats", check=False)
