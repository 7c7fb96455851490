"""Pods with real containers: what they see inside, how they end, and what a killed agent finds again."""

import asyncio
import base64
import copy
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from shared.kernel import mounts, syscalls
from tests.fakes.nodes import eventually
from tests.fakes.podlife import container, pod

pytestmark = pytest.mark.root


def shell(name, script, **fields):
    return container(name, command=["sh", "-c", script], **fields)


def secret(name, **data):
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": name, "namespace": "default"}, "data": encoded}


async def ended(node, name="web"):
    status = await eventually(
        lambda: node.status().get("phase") in ("Succeeded", "Failed") and node.status(), "the end of the pod"
    )
    return next(s["state"]["terminated"] for s in status["containerStatuses"] if s["name"] == name)


async def test_a_container_sees_its_environment_user_and_files(node):
    node.api.put("/api/v1/namespaces/default/secrets/s", secret("s", pw="hunter2"))
    spec = shell(
        "web",
        "id; env; cat /s/pw; echo; cat /etc/hostname; grep 10.244 /etc/hosts; pwd; echo bye > /dev/termination-log",
        env=[{"name": "A", "value": "one"}, {"name": "B", "value": "$(A)-two"}],
        volumeMounts=[{"name": "s", "mountPath": "/s"}],
        securityContext={"runAsUser": 1000},
        workingDir="/tmp",
    )
    node.create(pod(spec, restartPolicy="Never", volumes=[{"name": "s", "secret": {"secretName": "s"}}]))
    state = await ended(node)
    log = node.log("web")
    assert state["exitCode"] == 0, log
    assert state["message"] == "bye\n"
    for text in ("uid=1000", "gid=1001", "10", "B=one-two", "FROM_IMAGE=1", "hunter2", "p\n", "/tmp\n", "\tp\n"):
        assert text in log
    assert "HOME=/home/app" in log


async def test_containers_of_a_pod_share_an_empty_dir_and_memory_is_a_tmpfs(node):
    mounts = [{"name": "d", "mountPath": "/d"}, {"name": "m", "mountPath": "/m"}]
    volumes = [{"name": "d", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    write = shell("one", "echo shared > /d/f; echo fast > /m/f; sleep 100", volumeMounts=mounts)
    read = shell("two", "until cat /d/f /m/f; do sleep 0.05; done; mount | grep ' /m '; sleep 100", volumeMounts=mounts)
    node.create(pod(write, read, volumes=volumes))
    log = await node.wait_log("two", "tmpfs")
    assert "shared\nfast\n" in log
    assert "size=1024k" in log


async def test_an_exec_probe_makes_a_container_ready(node):
    probe = {"exec": {"command": ["test", "-f", "/tmp/ready"]}, "periodSeconds": 1}
    node.create(pod(shell("web", "sleep 0.5; touch /tmp/ready; sleep 100", readinessProbe=probe)))
    await eventually(lambda: node.status().get("containerStatuses", [{}])[0].get("ready"), "readiness")


async def test_hooks_run_inside_the_container_around_its_life(node, tmp_path):
    volume = {"name": "h", "hostPath": {"path": str(tmp_path / "h"), "type": "DirectoryOrCreate"}}
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started >> /h/f"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /h/f"]}},
    }
    script = "trap 'echo term >> /h/f; exit 0' TERM; while true; do sleep 0.05; done"
    spec = shell("web", script, lifecycle=hooks, volumeMounts=[{"name": "h", "mountPath": "/h"}])
    node.create(pod(spec, volumes=[volume]))
    await node.wait_phase("Running")
    node.delete(grace=10)
    await node.wait_gone()
    assert (tmp_path / "h/f").read_text() == "started\nstopping\nterm\n"


async def test_a_container_that_ignores_sigterm_is_killed(node):
    node.create(pod(shell("web", "trap '' TERM; echo up; while true; do sleep 0.05; done")))
    await node.wait_log("web", "up")
    node.delete(grace=2)
    await node.wait_gone()


async def test_too_much_memory_reads_as_oom_killed(node):
    limits = {"resources": {"limits": {"memory": "16Mi"}}}
    node.create(pod(shell("web", "x=a; while true; do x=$x$x; done", **limits), restartPolicy="Never"))
    state = await ended(node)
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


async def test_the_log_is_the_message_of_a_failure_without_one(node):
    spec = shell("web", "echo what went wrong; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
    node.create(pod(spec, restartPolicy="Never"))
    state = await ended(node)
    assert (state["exitCode"], state["message"]) == (3, "what went wrong\n")


async def test_a_restarted_container_keeps_volumes_and_loses_its_own_files(node):
    volume = {"name": "d", "emptyDir": {}}
    script = "ls /tmp/own /d/kept; touch /tmp/own /d/kept; sleep 0.2"
    node.create(pod(shell("web", script, volumeMounts=[{"name": "d", "mountPath": "/d"}]), volumes=[volume]))
    log = await node.wait_log("web", "/d/kept\n", attempt=1)
    assert "/tmp/own: No such file" in log


async def test_containers_keep_their_pids_over_a_crash_of_the_agent(node):
    node.create(pod(shell("web", "sleep 1000")))
    await node.wait_phase("Running")
    [before] = await node.held()
    await node.crash()
    node.boot()
    await eventually(lambda: node.manager.find("default", "p"), "the worker")
    [after] = await node.held()
    assert (after.id, after.pid) == (before.id, before.pid)


async def test_an_agent_that_is_killed_again_and_again_still_starts_every_container_once(node):
    rounds = random.Random(7)
    await node.crash()
    node.create(pod(shell("a", "echo $$; sleep 1000"), shell("b", "sleep 1000"), initContainers=[shell("i", "true")]))
    for _ in range(25):
        node.boot()
        await asyncio.sleep(rounds.uniform(0, 0.06))
        await node.crash()
    node.boot()
    status = await node.wait_phase("Running")
    await eventually(lambda: all(s["ready"] for s in node.status()["containerStatuses"]), "readiness")
    assert [s["restartCount"] for s in status["containerStatuses"]] == [0, 0]
    assert len([c for c in await node.held() if c.state == "running"]) == 2


async def test_a_killed_keeper_comes_back_and_the_pod_with_it(node):
    node.create(pod(shell("web", "sleep 1000")))
    await node.wait_phase("Running")
    node.kill_keeper()
    node.start_keeper()
    await eventually(lambda: node.runtime.connected, "the connection")
    await eventually(
        lambda: (
            "running" in node.status()["containerStatuses"][0]["state"]
            and node.manager.find("default", "p").record.container("web").running
        ),
        "a running container",
    )
    assert len([c for c in await node.held() if c.state == "running"]) == 1


async def test_a_pod_with_its_own_users_is_root_of_nothing_but_itself(node):
    node.api.put("/api/v1/namespaces/default/secrets/s", secret("s", pw="hunter2"))
    names = ("s", "d", "m")
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in names]
    volumes = [
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "d", "emptyDir": {}},
        {"name": "m", "emptyDir": {"medium": "Memory"}},
    ]
    write = "cat /s/pw && echo x > /d/f && chown 5 /d/f && echo y > /m/f && cat /proc/self/uid_map"
    init = shell("first", write, volumeMounts=mounts)
    read = shell("web", "stat -c '%u %n' /d/f /m/f /etc/hosts /etc/passwd; id -u; sleep 1000", volumeMounts=mounts)
    node.create(pod(read, initContainers=[init], volumes=volumes, hostUsers=False, shareProcessNamespace=True))
    log = await node.wait_log("web", "\n0\n")
    assert log.splitlines()[-5:] == ["5 /d/f", "0 /m/f", "0 /etc/hosts", "0 /etc/passwd", "0"]
    [worker] = node.manager.workers.values()
    assert worker.record.user_range >= 65536
    uid_map = node.log("first").split()[-3:]
    assert uid_map == ["0", str(worker.record.user_range), "65536"]
    assert (worker.setting.volumes["d"] / "f").stat().st_uid == 5


async def test_a_range_of_users_is_kept_over_a_restart_and_given_back_at_the_end(node):
    node.create(pod(shell("web", "exec sleep 1000"), hostUsers=False, terminationGracePeriodSeconds=0))
    await node.wait_phase("Running")
    [worker] = node.manager.workers.values()
    first = worker.record.user_range
    await node.crash()
    node.boot()
    [worker] = await eventually(lambda: list(node.manager.workers.values()), "the pod after the restart")
    assert worker.record.user_range == first
    node.delete(grace=0)
    await eventually(lambda: worker.record.cleaned, "the end of the pod")
    assert worker.record.user_range == 0


async def test_a_pod_of_another_runtime_runs_and_outlives_the_agent(node):
    if (runc := shutil.which("runc")) is None:
        pytest.skip("runc is not installed (tests/tools installs it)")
    node.handlers.commands["runc"] = [runc, "--root", str(node.layout.volatile / "oci/runc")]
    node.api.put("/apis/node.k8s.io/v1/runtimeclasses/other", {"metadata": {"name": "other"}, "handler": "runc"})
    node.create(pod(shell("web", "echo started; exec sleep 1000"), runtimeClassName="other"))
    await node.wait_log("web", "started")
    await node.wait_phase("Running")
    assert os.listdir(node.layout.volatile / "oci/runc")
    [before] = await node.held()
    await node.crash()
    node.boot()
    await node.wait_phase("Running")
    [after] = await node.held()
    assert (after.pid, after.state) == (before.pid, "running")


async def test_an_unknown_handler_is_an_event_of_the_pod(node):
    node.api.put("/apis/node.k8s.io/v1/runtimeclasses/other", {"metadata": {"name": "other"}, "handler": "gvisor"})
    node.create(pod(shell("web", "sleep 1000"), runtimeClassName="other"))
    text = 'Failed to create pod sandbox: no runtime for "gvisor" is configured'
    await eventually(lambda: any(text in str(event) for event in node.recorder.events), "the event")
    assert await node.held() == []


def annotate(node, **annotations):
    changed = copy.deepcopy(node.object())
    present = changed["metadata"].get("annotations") or {}
    changed["metadata"]["annotations"] = {k: v for k, v in {**present, **annotations}.items() if v is not None}
    node.create(changed)


def suspension(node):
    found = [c for c in node.status().get("conditions", ()) if c["type"] == "wherry.io/Suspended"]
    return found[0]["status"] if found else None


async def test_a_suspended_pod_stands_still_over_a_restart_and_no_probe_kills_it(node):
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
    count = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"
    node.create(pod(shell("web", count, livenessProbe=probe), terminationGracePeriodSeconds=0))
    await node.wait_log("web", "line 5")
    annotate(node, **{"wherry.io/suspended": "*"})
    await eventually(lambda: suspension(node) == "True", "the suspension")
    before = node.log("web")
    await node.crash()
    node.boot()
    await asyncio.sleep(2.5)  # time enough for a liveness probe to have failed
    [held] = await node.held()
    assert (held.paused, held.state) == (True, "running")
    assert len(node.log("web")) - len(before) < 200
    assert not node.status()["containerStatuses"][0]["ready"]
    length = len(node.log("web"))
    annotate(node, **{"wherry.io/suspended": None})
    await eventually(lambda: suspension(node) == "False", "its end")
    await eventually(lambda: len(node.log("web")) > length, "new lines")
    assert node.status()["containerStatuses"][0]["restartCount"] == 0


async def test_one_container_is_suspended_and_a_suspended_pod_can_be_deleted(node):
    script = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"
    node.create(pod(shell("one", script), shell("two", script), terminationGracePeriodSeconds=20))
    await node.wait_phase("Running")
    annotate(node, **{"wherry.io/suspended": "two"})
    await eventually(lambda: suspension(node) == "True", "the suspension")
    assert {held.name: held.paused for held in await node.held()} == {"one": False, "two": True}
    node.delete(grace=20)
    await node.wait_log("two", "bye")


def resize(node, **resources):
    changed = copy.deepcopy(node.object())
    changed["spec"]["containers"][0]["resources"] = resources
    changed["metadata"]["generation"] = changed["metadata"].get("generation", 1) + 1
    node.create(changed)


def condition(node, kind):
    return next((c for c in node.status().get("conditions", ()) if c["type"] == kind), None)


async def limit_of(node):
    [held] = [state for state in await node.held() if state.state == "running"]
    return (await node.runtime.stats(held.id)).memory_limit_bytes


def amounts(cpu, memory):
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


async def test_resources_change_while_a_container_runs(node):
    node.create(pod(shell("web", "exec sleep 1000", resources=amounts("100m", "32Mi"))))
    await node.wait_phase("Running")
    assert await limit_of(node) == 32 << 20
    resize(node, **amounts("200m", "64Mi"))
    await eventually(
        lambda: node.status()["containerStatuses"][0].get("resources") == amounts("200m", "64Mi"), "the new resources"
    )
    status = node.status()["containerStatuses"][0]
    assert status["allocatedResources"] == {"cpu": "200m", "memory": "64Mi"}
    assert status["restartCount"] == 0
    assert await limit_of(node) == 64 << 20
    assert condition(node, "PodResizePending") is None
    assert condition(node, "PodResizeInProgress") is None


async def test_a_resize_restarts_a_container_whose_policy_says_so(node):
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    web = shell("web", "exec sleep 1000", resources=amounts("100m", "32Mi"), resizePolicy=policy)
    node.create(pod(web, terminationGracePeriodSeconds=1))
    await node.wait_phase("Running")
    resize(node, **amounts("200m", "32Mi"))
    await eventually(lambda: node.status()["containerStatuses"][0]["resources"]["limits"]["cpu"] == "200m", "the cpu")
    assert node.status()["containerStatuses"][0]["restartCount"] == 0
    resize(node, **amounts("200m", "64Mi"))
    await eventually(lambda: node.status()["containerStatuses"][0]["restartCount"] == 1, "the restart")
    await eventually(lambda: "running" in node.status()["containerStatuses"][0]["state"], "its second run")
    assert await limit_of(node) == 64 << 20


async def test_a_resize_beyond_the_node_is_pending_and_can_be_taken_back(node):
    node.create(pod(shell("web", "exec sleep 1000", resources=amounts("100m", "32Mi"))))
    await node.wait_phase("Running")
    resize(node, **amounts("100", "32Mi"))
    pending = await eventually(lambda: condition(node, "PodResizePending"), "the condition")
    assert pending["reason"] == "Infeasible"
    assert "Node didn't have enough capacity: cpu" in pending["message"]
    assert node.status()["containerStatuses"][0]["resources"] == amounts("100m", "32Mi")
    resize(node, **amounts("100m", "32Mi"))
    await eventually(lambda: condition(node, "PodResizePending") is None, "its end")


async def test_a_pod_that_was_put_on_a_node_it_does_not_select_is_refused(node):
    node.api.put("/api/v1/nodes/n1", {"metadata": {"name": "n1", "labels": {"disk": "ssd"}}})
    node.create(pod(shell("web", "exec sleep 1000"), nodeSelector={"disk": "hdd"}))
    status = await node.wait_phase("Failed")
    text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    assert (status["reason"], status["message"]) == ("NodeAffinity", f"Pod was rejected: {text}")


async def test_a_resize_waits_for_room(node):
    node.create(pod(shell("web", "exec sleep 1000", resources=amounts("100m", "32Mi"))))
    await node.wait_phase("Running")
    node.admission = lambda pod: ("OutOfcpu", "Node didn't have enough resource: cpu")
    resize(node, **amounts("200m", "32Mi"))
    pending = await eventually(lambda: condition(node, "PodResizePending"), "the condition")
    assert (pending["reason"], pending["message"]) == ("Deferred", "Node didn't have enough resource: cpu")
    await eventually(lambda: "ResizeDeferred" in node.recorder.reasons(), "the event")


async def test_less_memory_than_is_in_use_is_tried_again(node):
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=24; echo filled; exec sleep 1000"
    node.create(pod(shell("web", script, resources=amounts("100m", "64Mi"))))
    await node.wait_log("web", "filled")
    resize(node, **amounts("100m", "8Mi"))
    progress = await eventually(lambda: condition(node, "PodResizeInProgress"), "the condition")
    if await limit_of(node) == 64 << 20:
        assert progress["reason"] == "Error"
    resize(node, **amounts("100m", "64Mi"))
    await eventually(lambda: condition(node, "PodResizeInProgress") is None, "its end")


async def test_a_profile_of_the_nodes_own_decides_which_calls_are_permitted(node):
    directory = node.layout.root / "seccomp"
    directory.mkdir(parents=True)
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}
    (directory / "no-mkdir.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    context = {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-mkdir.json"}}
    node.create(pod(shell("web", "mkdir /tmp/x; id; exit 0", securityContext=context), restartPolicy="Never"))
    assert (await ended(node))["exitCode"] == 0
    assert "Read-only file system" in node.log("web")
    assert "uid=0" in node.log("web")


async def test_a_missing_profile_is_an_error_of_the_container(node):
    context = {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}}
    node.create(pod(shell("web", "true", securityContext=context)))

    def waiting():
        status = (node.status().get("containerStatuses") or [{}])[0]
        return (status.get("state") or {}).get("waiting", {}).get("reason") == "CreateContainerConfigError"

    await eventually(waiting, "the error")
    assert "cannot load seccomp profile" in node.status()["containerStatuses"][0]["state"]["waiting"]["message"]


async def test_read_only_holds_for_inner_mounts_when_it_is_recursive(node, tmp_path):
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    syscalls.mount("tmpfs", str(outer / "inner"), "tmpfs")
    try:
        plain = {"name": "v", "mountPath": "/plain", "readOnly": True}
        whole = {"name": "v", "mountPath": "/whole", "readOnly": True, "recursiveReadOnly": "Enabled"}
        script = "for d in plain plain/inner whole whole/inner; do touch /$d/x 2>/dev/null && echo $d; done; true"
        web = shell("web", script, volumeMounts=[plain, whole])
        volumes = [{"name": "v", "hostPath": {"path": str(outer)}}]
        node.create(pod(web, restartPolicy="Never", volumes=volumes))
        await ended(node)
        assert node.log("web").split() == ["plain/inner"]
        shown = {mount["mountPath"]: mount["recursiveReadOnly"] for mount in mount_statuses(node)}
        assert shown == {"/plain": "Disabled", "/whole": "Enabled"}
    finally:
        syscalls.umount(str(outer / "inner"))


def mount_statuses(node):
    return node.status()["containerStatuses"][0]["volumeMounts"]


async def test_mounts_propagate_as_asked_for(node, tmp_path):
    shared = tmp_path / "shared"
    for name in ("none", "host", "both"):
        (shared / name).mkdir(parents=True)
    mounts.ensure_shared_directory(str(shared))
    kinds = {"none": "None", "host": "HostToContainer", "both": "Bidirectional"}
    try:
        volume_mounts = [{"name": "v", "mountPath": f"/{n}", "mountPropagation": kind} for n, kind in kinds.items()]
        script = "mount -t tmpfs x /both/both && echo mounted; exec sleep 1000"
        web = shell("web", script, volumeMounts=volume_mounts, securityContext={"privileged": True})
        volumes = [{"name": "v", "hostPath": {"path": str(shared)}}]
        node.create(pod(web, volumes=volumes, terminationGracePeriodSeconds=0))
        await node.wait_log("web", "mounted")
        assert mounts.is_mount_point(shared / "both")
        syscalls.mount("tmpfs", str(shared / "host"), "tmpfs")
        [held] = await node.held()
        seen = Path(f"/proc/{held.pid}/mountinfo").read_text()
        assert " /host/host " in seen
        assert " /none/host " not in seen
        assert " /none/both " not in seen
    finally:
        mounts.unmount_below(shared)
