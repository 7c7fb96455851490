"""Pod workers and their manager with everything around them faked: from the API's object to the runtime and back."""

import base64
import copy

import pytest

from services.nodeagent.runtime.client import StartError
from tests.fakes.nodes import FakeNode, eventually, fake_node
from tests.fakes.podlife import container, pod


@pytest.fixture
async def node(tmp_path):
    async with fake_node(tmp_path) as node:
        yield node


def secret(name, **data):
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": name, "namespace": "default"}, "data": encoded}


async def test_a_pod_runs_and_its_status_says_so(node: FakeNode):
    node.create(pod(container("web")))
    status = await node.wait_phase("Running")
    assert status["podIP"] == "10.244.0.2"
    state = node.runtime.running("web")
    assert status["containerStatuses"][0]["containerID"] == f"wherry://{state.id}"
    assert status["containerStatuses"][0]["imageID"] == "web@sha256:d1"
    assert node.recorder.reasons() == ["Pulled", "Created", "Started"]


async def test_a_crashed_container_is_restarted_with_its_count(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    node.runtime.exit(state.id, 1)
    await eventually(lambda: node.status()["containerStatuses"][0]["restartCount"] == 1, "a restart")
    await eventually(lambda: state.id not in node.runtime.containers, "removal of the first attempt")


async def test_a_deleted_pod_is_stopped_cleaned_and_confirmed(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    node.delete()
    await eventually(lambda: (state.id, 15) in node.runtime.signals, "SIGTERM")
    node.runtime.exit(state.id, 0)
    await node.wait_gone()
    path, options = node.api.deletions[0]
    assert path == node.path()
    assert options["gracePeriodSeconds"] == 0
    assert options["preconditions"] == {"uid": "u1"}
    assert not node.runtime.sandboxes
    assert not node.network.attached
    await eventually(lambda: not list(node.layout.pods.iterdir()), "removal of the pod's directory")
    assert not list(node.layout.logs.iterdir())


async def test_the_last_status_reaches_the_api_before_the_deletion(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    node.delete()
    await eventually(lambda: node.runtime.signals, "SIGTERM")
    node.runtime.exit(state.id, 0)
    await node.wait_gone()
    last = [body["status"] for path, body in node.api.patches if "phase" in body["status"]][-1]
    assert last["phase"] == "Succeeded"


async def test_an_agent_that_crashed_adopts_what_runs(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    await node.wait_phase("Running")
    await node.crash()
    node.boot()
    await eventually(lambda: node.manager.find("default", "p"), "the worker")
    node.delete()
    await eventually(lambda: node.runtime.signals, "SIGTERM")
    assert node.runtime.starts == [state.id]
    node.runtime.exit(state.id, 0)
    await node.wait_gone()


async def test_an_exit_while_the_agent_was_away_is_found(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    await node.wait_phase("Running")
    await node.crash()
    node.runtime.exit(state.id, 7)
    node.boot()
    status = await eventually(
        lambda: node.status()["containerStatuses"][0]["restartCount"] == 1 and node.status(), "a restart"
    )
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 7


async def test_a_crash_between_record_and_start_starts_the_same_attempt(node: FakeNode):
    def crash(spec):
        node.runtime.on_start = None
        raise RuntimeError("killed here")

    node.runtime.on_start = crash
    node.create(pod(container("web")))
    await eventually(lambda: node.runtime.on_start is None, "the crash")
    await node.crash()
    node.boot()
    state = await node.wait_running()
    assert state.labels["container.attempt"] == "0"
    assert len(node.runtime.starts) == 1


async def test_containers_that_a_reboot_took_are_started_again(node: FakeNode):
    node.create(pod(container("web")))
    await node.wait_running()
    await node.wait_phase("Running")
    await node.crash()
    node.runtime.sandboxes.clear()
    node.runtime.containers.clear()
    node.boot()
    state = await node.wait_running()
    assert state.labels["container.attempt"] == "1"
    status = await eventually(
        lambda: node.status()["containerStatuses"][0]["restartCount"] == 1 and node.status(), "a restart"
    )
    assert status["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_pods_start_from_the_node_s_own_memory_while_the_api_is_away(node: FakeNode):
    node.create(pod(container("web")))
    await node.wait_running()
    await node.wait_phase("Running")
    await node.crash()
    node.api.up.clear()
    node.runtime.sandboxes.clear()
    node.runtime.containers.clear()
    node.boot()
    state = await node.wait_running()
    assert state.labels["container.attempt"] == "1"


async def test_nothing_is_removed_while_the_api_is_away(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    await node.crash()
    node.api.up.clear()
    node.api.drop(node.path())
    node.boot()
    worker = await eventually(lambda: node.manager.find("default", "p"), "the worker")
    assert worker.record.container("web").running
    node.api.up.set()
    await eventually(lambda: (state.id, 15) in node.runtime.signals, "SIGTERM")
    node.runtime.exit(state.id, 0)
    await eventually(lambda: not node.manager.workers, "the worker's end")
    assert node.api.deletions == []


async def test_a_sandbox_of_an_unknown_pod_is_removed_once_the_api_was_read(node: FakeNode):
    node.create(pod(container("web")))
    await node.wait_running()
    await node.crash()
    node.api.drop(node.path())
    for directory in node.layout.pods.iterdir():
        for file in directory.glob("*.json"):
            file.unlink()
    node.boot()
    await eventually(lambda: not node.runtime.sandboxes, "removal of the orphan")
    await eventually(lambda: not list(node.layout.pods.iterdir()), "removal of its directory")


async def test_restart_counts_survive_the_loss_of_the_node_s_memory(node: FakeNode):
    obj = pod(container("web"))
    entry = {"name": "web", "restartCount": 4, "containerID": "wherry://old", "state": {"running": {}}}
    obj["status"] = {"phase": "Running", "containerStatuses": [entry]}
    node.create(obj)
    state = await node.wait_running()
    assert state.labels["container.attempt"] == "5"


async def test_a_finished_pod_is_not_run_again_after_a_restart(node: FakeNode):
    node.create(pod(container("web"), restartPolicy="Never"))
    state = await node.wait_running()
    node.runtime.exit(state.id, 0)
    await node.wait_phase("Succeeded")
    await node.crash()
    node.boot()
    await eventually(lambda: node.manager.find("default", "p"), "the worker")
    await eventually(lambda: not node.runtime.sandboxes, "clean-up")
    assert node.runtime.starts == [state.id]


async def test_a_pod_waits_for_its_secret_and_starts_when_it_comes(node: FakeNode):
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    node.create(pod(container("web", env=[{"name": "A", "valueFrom": source}])))
    await eventually(
        lambda: (
            node.status().get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
            == "CreateContainerConfigError"
        ),
        "the configuration error",
    )
    node.api.put("/api/v1/namespaces/default/secrets/s", secret("s", k="value"))
    state = await node.wait_running()
    assert node.runtime.specs[state.id].env["A"] == "value"
    assert state.labels["container.attempt"] == "0"


async def test_a_volume_waits_for_its_config_map_and_follows_its_changes(node: FakeNode):
    volume = {"name": "v", "configMap": {"name": "c"}}
    node.create(pod(container("web", volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[volume]))
    await eventually(lambda: "FailedMount" in node.recorder.reasons(), "the event")
    path = "/api/v1/namespaces/default/configmaps/c"
    obj = {"metadata": {"name": "c", "namespace": "default"}, "data": {"k": "one"}}
    node.api.put(path, obj)
    state = await node.wait_running()
    mount = next(m for m in node.runtime.specs[state.id].mounts if m.target == "/v")
    assert mount.read_only
    file = node.layout.pod("default", "p", "u1").projection("configMap", "v") / "k"
    assert file.read_text() == "one"
    node.api.put(path, {**copy.deepcopy(obj), "data": {"k": "two"}})
    await eventually(lambda: file.read_text() == "two", "the new content")


async def test_a_program_that_cannot_be_started_is_reported_and_backs_off(node: FakeNode):
    node.runtime.start_error = StartError("exec /nope: no such file or directory", 127)
    node.create(pod(container("web")))
    status = await eventually(
        lambda: (
            node.status().get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
            == "CrashLoopBackOff"
            and node.status()["containerStatuses"][0]
        ),
        "the back-off",
    )
    ended = status["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "BackOff" in node.recorder.reasons()


async def test_an_image_that_is_not_there_is_reported(node: FakeNode):
    node.images.missing.add("web:1")
    node.create(pod(container("web")))
    await eventually(
        lambda: (
            node.status().get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
            == "ErrImagePull"
        ),
        "the error",
    )
    assert node.recorder.reasons()[:3] == ["Pulling", "Failed", "Failed"]


async def test_containers_get_the_service_environment(node: FakeNode):
    node.services = [
        {
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]},
        }
    ]
    node.create(pod(container("web")))
    state = await node.wait_running()
    env = node.runtime.specs[state.id].env
    assert env["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert env["KUBERNETES_PORT_443_TCP"] == "tcp://10.96.0.1:443"
    assert env["HOSTNAME"] == "p"


async def test_the_log_collector_is_told_whose_logs_they_are(node: FakeNode):
    obj = pod(container("web"))
    obj["metadata"]["labels"] = {"app": "x"}
    node.create(obj)
    state = await node.wait_running()
    import json

    document = json.loads((node.layout.pod("default", "p", "u1").logs / "pod.json").read_text())
    assert document["labels"] == {"app": "x"}
    assert document["node"] == "n1"
    assert document["containers"]["web"]["containerID"] == f"wherry://{state.id}"


async def test_the_etc_files_of_a_pod_are_those_of_the_cluster(node: FakeNode):
    node.create(pod(container("web")))
    await node.wait_running()
    etc = node.layout.pod("default", "p", "u1").etc
    assert "10.244.0.2\tp" in (etc / "hosts").read_text()
    assert (etc / "resolv.conf").read_text() == (
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
    )


async def test_a_pod_that_is_replaced_under_its_name_gets_a_worker_of_its_own(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    other = pod(container("web"))
    other["metadata"]["uid"] = "u2"
    node.create(other)
    await eventually(lambda: (state.id, 15) in node.runtime.signals, "SIGTERM for the old pod")
    node.runtime.exit(state.id, 0)
    await eventually(lambda: set(node.manager.workers) == {"u2"}, "only the new worker")
    assert node.api.deletions == []


async def test_a_liveness_failure_restarts_the_container(node: FakeNode):
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1}
    node.create(pod(container("web", livenessProbe=probe)))
    state = await node.wait_running()
    node.prober.outcomes[state.id] = False
    await eventually(lambda: (state.id, 15) in node.runtime.signals, "SIGTERM")
    node.runtime.exit(state.id, 0)
    await eventually(lambda: node.status()["containerStatuses"][0]["restartCount"] == 1, "a restart")
    assert "Unhealthy" in node.recorder.reasons()


async def test_the_pre_stop_hook_runs_before_the_signal(node: FakeNode):
    hook = {"exec": {"command": ["bye"]}}
    node.create(pod(container("web", lifecycle={"preStop": hook})))
    state = await node.wait_running()
    node.delete()
    await eventually(lambda: (state.id, 15) in node.runtime.signals, "SIGTERM")
    assert node.prober.actions == [hook]


async def test_images_are_held_while_their_containers_exist(node: FakeNode):
    node.create(pod(container("web")))
    state = await node.wait_running()
    assert node.images.held == {state.id: "sha256:1d"}
    node.delete()
    await eventually(lambda: node.runtime.signals, "SIGTERM")
    node.runtime.exit(state.id, 0)
    await node.wait_gone()
    assert node.images.held == {}
