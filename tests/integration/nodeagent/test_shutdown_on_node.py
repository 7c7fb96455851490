"""A node that goes down, and one that comes up again after a reboot: real containers, a real keeper."""

import asyncio
import json
import shutil
import subprocess

import pytest

from services.nodeagent import shutdown
from services.nodeagent.pods.staticpods import StaticPods
from services.nodeagent.shutdown import ANNOTATION, MESSAGE, NodeShutdown, ShutdownSettings
from shared.errors import SettingsError
from shared.kernel import mounts, netns
from tests.fakes.nodes import eventually
from tests.fakes.podlife import container, pod

pytestmark = pytest.mark.root

NODE = {"metadata": {"name": "n1", "uid": "n", "annotations": {}}}


def named(name, script, uid, priority=0, **spec):
    obj = pod(container("web", command=["sh", "-c", script]), **{"priority": priority, **spec})
    obj["metadata"] |= {"name": name, "uid": uid}
    return obj


def going_down(node, **env):
    told = []

    async def tell(value):
        told.append(value)

    settings = ShutdownSettings.from_environment({"WHERRY_SHUTDOWN_GRACE": "1000=2s,0=5s", **env})
    made = NodeShutdown(settings, node.manager, node.events, tell)
    node.start(made.run())
    return made, told


def annotated(value=shutdown.REQUESTED):
    return {"metadata": {**NODE["metadata"], "annotations": {ANNOTATION: value}}}


async def test_pods_end_by_priority_and_with_what_kubernetes_says(node, tmp_path):
    volume = {"name": "h", "hostPath": {"path": str(tmp_path / "order"), "type": "DirectoryOrCreate"}}
    script = "trap 'cat /proc/uptime > /h/$HOSTNAME; exit 0' TERM; while true; do sleep 0.02; done"
    for name, uid, priority in (("low", "u1", 0), ("high", "u2", 5000)):
        obj = named(name, script, uid, priority, volumes=[volume])
        obj["spec"]["containers"][0]["volumeMounts"] = [{"name": "h", "mountPath": "/h"}]
        node.create(obj)
        await node.wait_phase("Running", name)
    found, told = going_down(node)
    found.observe(annotated())
    for name in ("low", "high"):
        status = await node.wait_phase("Failed", name)
        assert (status["reason"], status["message"]) == ("Terminated", MESSAGE)
        target = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
        assert target["reason"] == "TerminationByKubelet"
    await eventually(lambda: told == ["done"], "the node to say that it is done")
    ends = {path.name: float(path.read_text().split()[0]) for path in (tmp_path / "order").iterdir()}
    assert ends["low"] <= ends["high"]
    assert found.active
    assert found.admit({}) == ("NodeShutdown", "Pod was rejected as the node is shutting down.")
    found.observe(NODE)
    assert found.admit({}) is None


async def test_a_static_pod_runs_again_once_the_node_is_back(node):
    directory = node.layout.manifests
    directory.mkdir(parents=True)
    obj = named("fixed", "sleep 1000", "", terminationGracePeriodSeconds=1)
    del obj["metadata"]["uid"], obj["status"], obj["spec"]["priority"], obj["metadata"]["generation"]
    (directory / "fixed.json").write_text(json.dumps(obj))
    await node.manager.wait_started()
    node.start(StaticPods(directory, "n1", node.manager, node.api, node.events, lambda: NODE).run())
    await eventually(lambda: any(c.state == "running" for c in node.known()), "the static pod")
    found, told = going_down(node)
    found.observe(annotated())
    await eventually(lambda: told, "the end of the static pod")
    found.observe(NODE)
    await eventually(lambda: any(c.state == "running" for c in node.known()), "the static pod's second life")
    (directory / "fixed.json").unlink()
    await eventually(lambda: not node.manager.workers, "its end")


async def test_a_mere_stop_of_the_agent_ends_nothing(node, monkeypatch):
    node.create(named("p", "sleep 1000", "u1"))
    await node.wait_phase("Running")
    found, _ = going_down(node)
    await found.drain()
    assert node.status()["phase"] == "Running"
    assert not found.active

    async def stopping():
        return True

    monkeypatch.setattr(shutdown, "machine_is_stopping", stopping)
    await found.drain()
    assert node.status()["reason"] == "Terminated"


async def test_a_machine_without_systemd_is_not_stopping(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not await shutdown.machine_is_stopping()


@pytest.mark.parametrize("name", ["WHERRY_SHUTDOWN_GRACE", "WHERRY_SHUTDOWN_ON_TERM"])
def test_a_wrong_setting_is_named(name):
    with pytest.raises(SettingsError, match=name):
        ShutdownSettings.from_environment({name: "soon"})


async def test_pods_come_back_after_a_reboot(node):
    secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"pw": "aHVudGVyMg=="}}
    node.api.put("/api/v1/namespaces/default/secrets/s", secret)
    obj = named("p", "cat /s/pw; cat /d/kept; touch /d/kept; sleep 1000", "u1")
    obj["spec"]["volumes"] = [
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "d", "emptyDir": {}},
        {"name": "m", "emptyDir": {"medium": "Memory"}},
    ]
    obj["spec"]["containers"][0]["volumeMounts"] = [{"name": name, "mountPath": f"/{name}"} for name in ("s", "d", "m")]
    node.create(obj)
    await node.wait_log("web", "hunter2")
    await node.wait_phase("Running")
    before = set(node.network.attached)
    await node.crash()
    power_off(node)
    node.network.attached.clear()
    node.start_keeper()
    await node.connect_again()
    node.boot()
    await node.wait_log("web", "hunter2", attempt=1)
    status = await eventually(
        lambda: node.status()["containerStatuses"][0]["restartCount"] == 1 and node.status(), "the restart to be told"
    )
    [(sandbox, address)] = node.network.attached.items()
    assert sandbox not in before
    assert node.status()["podIP"] == address
    assert "SandboxChanged" in node.recorder.reasons()
    assert status["containerStatuses"][0]["lastState"]["terminated"]["reason"] in ("ContainerStatusUnknown", "Error")
    assert "No such file" not in node.log("web", 1)


def power_off(node):
    """What a machine loses: processes, control groups, mounts, network namespaces, and everything below RUN."""
    node.kill_keeper()
    node.groups.kill("")
    mounts.unmount_below(node.layout.data)
    mounts.unmount_below(node.layout.run)
    for name in netns.names():
        if name.startswith(node.cluster):
            subprocess.run(["ip", "netns", "delete", name], check=True)
    shutil.rmtree(node.layout.run)
    node.layout.volatile.mkdir(parents=True)


async def test_power_off_really_takes_everything(node):
    node.create(named("p", "sleep 1000", "u1"))
    await node.wait_phase("Running")
    await node.crash()
    power_off(node)
    assert not [name for name in netns.names() if name.startswith(node.cluster)]
    node.start_keeper()
    await node.connect_again()
    assert await node.held() == []
    node.boot()
    await asyncio.sleep(0)
