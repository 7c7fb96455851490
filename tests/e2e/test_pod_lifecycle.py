"""The life of a pod's containers as users steer it: debugging, sidecars, hooks, probes, deadlines."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import Kubectl, pod, until


def status(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.json("get", "pod", name)["status"]
    return found


def test_debug_sees_the_processes_of_its_target(kubectl: Kubectl) -> None:
    kubectl.apply(pod("patient", "echo $$; exec sleep 4321"))
    kubectl("wait", "--for=condition=Ready", "pod/patient", "--timeout=60s")
    kubectl(
        "debug", "patient", "--image=example:1", "--target=main", "--profile=general", "-c", "doctor", "--",
        "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; exec sleep 1000",
    )  # fmt: skip
    until(
        lambda: kubectl.run("logs", "patient", "-c", "doctor", check=False).stdout == "sleep 4321 ",
        "the target's process",
    )
    entry = status(kubectl, "patient")["ephemeralContainerStatuses"][0]
    assert "running" in entry["state"]
    assert status(kubectl, "patient")["containerStatuses"][0]["restartCount"] == 0


def test_a_sidecar_starts_before_and_ends_after_the_application(kubectl: Kubectl) -> None:
    made = pod("pair", "cat /shared/ready; echo app-done >> /shared/log", "Never")
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    made["spec"]["containers"][0]["volumeMounts"] = mounts
    script = (
        "trap 'cat /shared/log; echo sidecar-done; exit 0' TERM; echo up > /shared/ready;"
        " while true; do sleep 0.1; done"
    )
    sidecar = pod("x", script)["spec"]["containers"][0] | {"name": "side", "restartPolicy": "Always"}
    sidecar |= {
        "volumeMounts": mounts,
        "startupProbe": {"exec": {"command": ["cat", "/shared/ready"]}, "periodSeconds": 1},
    }
    made["spec"] |= {"initContainers": [sidecar], "volumes": [{"name": "shared", "emptyDir": {}}]}
    made["spec"]["terminationGracePeriodSeconds"] = 10
    kubectl.apply(made)
    until(lambda: status(kubectl, "pair").get("phase") == "Succeeded", "the pod to succeed")
    assert kubectl("logs", "pair", "-c", "main") == "up\n"
    assert kubectl("logs", "pair", "-c", "side") == "app-done\nsidecar-done\n"


def test_a_failed_liveness_probe_restarts_the_container_with_its_own_grace(kubectl: Kubectl) -> None:
    probe = {
        "exec": {"command": ["test", "!", "-e", "/sick"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1,
    }
    made = pod("fragile", "trap '' TERM; while true; do sleep 0.1; done", livenessProbe=probe)
    made["spec"]["terminationGracePeriodSeconds"] = 600
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/fragile", "--timeout=60s")
    kubectl("exec", "fragile", "--", "touch", "/sick")
    until(lambda: status(kubectl, "fragile")["containerStatuses"][0]["restartCount"] == 1, "the restart")
    assert "failed liveness probe, will be restarted" in kubectl("describe", "pod", "fragile")
    kubectl("delete", "pod", "fragile", "--grace-period=1")


def test_hooks_and_the_stop_signal_frame_a_containers_life(kubectl: Kubectl) -> None:
    made = pod("polite", "trap 'echo usr1; exit 0' USR1; trap '' TERM; while true; do sleep 0.1; done")
    made["spec"] |= {"terminationGracePeriodSeconds": 20, "os": {"name": "linux"}}
    made["spec"]["containers"][0]["lifecycle"] = {
        "stopSignal": "SIGUSR1",
        "postStart": {"sleep": {"seconds": 1}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo before-the-end > /proc/1/fd/1"]}},
    }
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/polite", "--timeout=60s")
    assert status(kubectl, "polite")["containerStatuses"][0]["stopSignal"] == "SIGUSR1"
    follow = kubectl.start("logs", "-f", "polite")
    kubectl("delete", "pod", "polite")
    assert follow.stdout is not None
    assert follow.stdout.read() == "before-the-end\nusr1\n"
    follow.wait(30)
    follow.stdout.close()


def test_a_deadline_ends_the_whole_pod(kubectl: Kubectl) -> None:
    made = pod("late", "exec sleep 1000")
    made["spec"]["activeDeadlineSeconds"] = 2
    kubectl.apply(made)
    until(lambda: status(kubectl, "late").get("phase") == "Failed", "the deadline")
    assert status(kubectl, "late")["reason"] == "DeadlineExceeded"


def test_a_readiness_gate_holds_the_pod_until_its_condition_is_set(kubectl: Kubectl) -> None:
    made = pod("gated", "exec sleep 1000")
    made["spec"]["readinessGates"] = [{"conditionType": "example.com/open"}]
    kubectl.apply(made)
    kubectl("wait", "--for=condition=ContainersReady", "pod/gated", "--timeout=60s")
    conditions = {one["type"]: one for one in status(kubectl, "gated")["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "ReadinessGatesNotReady")
    assert conditions["PodReadyToStartContainers"]["status"] == "True"
    change = '{"status":{"conditions":[{"type":"example.com/open","status":"True"}]}}'
    kubectl("patch", "pod", "gated", "--subresource=status", "--type=strategic", "-p", change)
    kubectl("wait", "--for=condition=Ready", "pod/gated", "--timeout=30s")
    found = kubectl.json("get", "pod", "gated")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]


def test_a_variable_may_come_from_a_file_that_an_init_container_wrote(kubectl: Kubectl) -> None:
    reference = {"volumeName": "made", "path": "env", "key": "COLOUR"}
    made = pod("painted", "echo $COLOUR", "Never", env=[{"name": "COLOUR", "valueFrom": {"fileKeyRef": reference}}])
    init = pod("x", "echo \"COLOUR='deep blue'\" > /made/env")["spec"]["containers"][0]
    made["spec"]["initContainers"] = [init | {"name": "init", "volumeMounts": [{"name": "made", "mountPath": "/made"}]}]
    made["spec"]["volumes"] = [{"name": "made", "emptyDir": {}}]
    kubectl.apply(made)
    until(lambda: status(kubectl, "painted").get("phase") == "Succeeded", "the pod to succeed")
    assert kubectl("logs", "painted") == "deep blue\n"
