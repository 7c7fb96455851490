"""The Node object: what it says, and that it is written only when it has something new to say."""

import asyncio
import copy
from pathlib import Path

import pytest

from services.nodeagent import machine
from services.nodeagent.configuration import Configuration
from services.nodeagent.node import Health, NodeStatus, conditions, node_object
from services.nodeagent.projections import Collection, Projection, node_routes
from shared.errors import NetworkError, NotFound, ServiceUnavailable, SettingsError
from tests.fakes.nodes import FakeApi, eventually

FULL = frozenset({"MemoryPressure", "DiskPressure", "PIDPressure"})
VOLUMES = Path("/data/volumes")
CAPACITY = {"cpu": "2", "memory": "1048576Ki", "ephemeral-storage": "1000Ki", "pods": "110"}
NOW = "2026-11-24T08:15:35Z"


def configuration(**env):
    return Configuration.from_environment({"WHERRY_NODE_NAME": "n1", "WHERRY_NODE_ADDRESS": "10.0.0.1", **env})


def by_type(health, previous=(), now=NOW):
    return {c["type"]: c for c in conditions(health, previous, now)}


def test_a_node_tells_its_addresses_and_what_it_is():
    node = node_object(configuration(WHERRY_NODE_LABELS="zone=a,disk=ssd"), CAPACITY, VOLUMES)
    labels = node["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == "n1"
    assert labels["kubernetes.io/os"] == "linux"
    assert labels["kubernetes.io/arch"] == machine.architecture()
    assert labels["disk"] == "ssd"
    status = node["status"]
    assert {"type": "InternalIP", "address": "10.0.0.1"} in status["addresses"]
    assert status["nodeInfo"]["containerRuntimeVersion"] == "wherry://0.1"
    assert status["nodeInfo"]["kubeletVersion"].startswith("v1.36.2-wherry")
    assert status["capacity"] == CAPACITY
    assert status["allocatable"]["memory"] == f"{1048576 - 102400}Ki"


def test_a_fine_node_is_ready_and_under_no_pressure():
    found = by_type(Health(""))
    assert {kind: c["status"] for kind, c in found.items()} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }
    assert found["MemoryPressure"]["message"] == "kubelet has sufficient memory available"


def test_a_full_node_says_what_is_full():
    found = by_type(Health("", FULL))
    assert found["MemoryPressure"]["reason"] == "KubeletHasInsufficientMemory"
    assert found["DiskPressure"]["message"] == "kubelet has disk pressure"
    assert found["PIDPressure"]["message"] == "kubelet has insufficient PID available"


def test_a_node_without_a_runtime_is_not_ready():
    ready = by_type(Health("container runtime is down"))["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")


def test_conditions_that_say_the_same_do_not_change_at_all():
    first = conditions(Health(""), [], NOW)
    assert conditions(Health(""), first, "2026-11-24T09:00:00Z") == first


@pytest.mark.parametrize(
    ("name", "value"),
    [("WHERRY_LEASE_TTL_SECONDS", "soon"), ("WHERRY_NODE_LABELS", "x"), ("WHERRY_NODE_ADDRESS", "")],
)
def test_a_wrong_variable_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        configuration(**{name: value})


class NodeApi(FakeApi):
    """Merges status and labels of nodes."""

    async def patch(self, path, body, kind="merge", query=None):
        path = path.removesuffix("/status")
        self._check(path)
        self.patches.append((path, body))
        obj = copy.deepcopy(self.objects[path])
        obj["metadata"].setdefault("labels", {}).update(body.get("metadata", {}).get("labels", {}))
        for key, value in body.get("status", {}).items():
            if key == "conditions":
                kept = {c["type"]: c for c in obj["status"].get("conditions", [])}
                kept.update({c["type"]: c for c in value})
                value = list(kept.values())
            elif key == "addresses":
                value = [entry for entry in value if "$patch" not in entry]
            obj["status"][key] = value
        self.put(path, obj)
        return obj


async def test_a_new_node_is_created_and_an_old_one_gets_its_labels():
    api = NodeApi()
    await NodeStatus(api, configuration(), CAPACITY, VOLUMES).register()
    assert api.objects["/api/v1/nodes/n1"]["status"]["capacity"] == CAPACITY
    await NodeStatus(api, configuration(WHERRY_NODE_LABELS="a=b"), CAPACITY, VOLUMES).register()
    assert api.objects["/api/v1/nodes/n1"]["metadata"]["labels"]["a"] == "b"


async def test_nothing_is_written_when_nothing_changed():
    api = NodeApi()
    status = NodeStatus(api, configuration(), CAPACITY, VOLUMES)
    await status.register()
    assert await status.publish(Health(""), [])
    assert await status.publish(Health(""), [])
    assert len(api.patches) == 1
    assert await status.publish(Health("broken"), [])
    assert [c["type"] for c in api.patches[1][1]["status"]["conditions"]] == ["Ready"]


async def test_a_node_that_was_deleted_registers_again():
    api = NodeApi()
    status = NodeStatus(api, configuration(), CAPACITY, VOLUMES)
    await status.register()
    api.drop("/api/v1/nodes/n1")
    assert not await status.publish(Health(""), [])
    assert "/api/v1/nodes/n1" in api.objects


async def test_an_api_that_is_away_is_no_failure():
    api = NodeApi()
    status = NodeStatus(api, configuration(), CAPACITY, VOLUMES)
    await status.register()
    api.up.clear()
    assert not await status.publish(Health(""), [])


def test_the_machine_is_described():
    capacity = machine.capacity(machine.Path("/"), 110)
    assert int(capacity["cpu"]) >= 1
    assert capacity["memory"].endswith("Ki")
    assert machine.node_info("v1", "r")["operatingSystem"] == "linux"


# projections


def node(name, cidr="", address=""):
    addresses = [{"type": "InternalIP", "address": address}] if address else []
    return {"metadata": {"name": name}, "spec": {"podCIDR": cidr}, "status": {"addresses": addresses}}


def test_routes_lead_to_the_other_nodes():
    nodes = {
        ("", "n1"): node("n1", "10.244.0.0/24", "10.0.0.1"),
        ("", "n2"): node("n2", "10.244.1.0/24", "10.0.0.2"),
        ("", "n3"): node("n3", "", "10.0.0.3"),
        ("", "n4"): node("n4", "10.244.3.0/24"),
    }
    assert node_routes(nodes, "n1") == {"10.244.1.0/24": "10.0.0.2"}


async def test_a_projection_runs_once_for_a_burst_and_again_after_a_failure(monkeypatch):
    monkeypatch.setattr("services.nodeagent.projections.RETRY_S", 0.0)
    runs = []

    async def action():
        runs.append(1)
        if len(runs) == 1:
            raise NetworkError("the kernel is busy")

    projection = Projection("p", action)
    task = asyncio.create_task(projection.run(), name="projection")
    for _ in range(5):
        projection.trigger()
    await eventually(lambda: len(runs) == 2, "the second run")
    task.cancel()


async def test_a_collection_is_told_of_only_as_a_whole(tmp_path):
    api = FakeApi()
    for name in ("a", "b"):
        api.put(f"/api/v1/namespaces/x/services/{name}", {"metadata": {"name": name, "namespace": "x"}})
    collection = Collection(api.informer("/api/v1/services"), tmp_path / "services.json")
    seen = []
    collection.on_change(lambda: seen.append(len(collection.items)))
    assert not collection.known
    task = asyncio.create_task(collection.run(), name="collection")
    await eventually(lambda: seen, "the first view")
    assert seen == [2]
    api.put("/api/v1/namespaces/x/services/c", {"metadata": {"name": "c", "namespace": "x"}})
    assert seen == [2, 3]
    task.cancel()


async def test_a_collection_remembers_what_it_was_while_the_api_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr("services.nodeagent.projections.REMEMBER_S", 0.0)
    api = FakeApi()
    api.put("/api/v1/namespaces/x/services/a", {"metadata": {"name": "a", "namespace": "x"}, "spec": {}})
    path = tmp_path / "services.json"
    task = asyncio.create_task(Collection(api.informer("/api/v1/services"), path).run(), name="collection")
    await eventually(path.exists, "the memory")
    task.cancel()
    api.up.clear()
    again = Collection(api.informer("/api/v1/services"), path)
    assert again.known
    assert not again.synced
    assert set(again.items) == {("x", "a")}


async def test_offline_and_refused_are_told_apart():
    from services.nodeagent.link import is_offline

    assert is_offline(ServiceUnavailable("no"))
    assert not is_offline(NotFound("no"))
