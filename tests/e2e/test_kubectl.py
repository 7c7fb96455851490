"""What people do with kubectl, done with the real one."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import yaml

from tests.e2e.harness import EXAMPLE, Kubectl, TestCluster, deployment, pod, until


def test_the_example_is_unchanged_when_applied_again(cluster: TestCluster) -> None:
    first = cluster.kubectl("apply", "-f", str(EXAMPLE / "hello.yaml"))
    second = cluster.kubectl("apply", "-f", str(EXAMPLE / "hello.yaml"))
    assert len(second.splitlines()) == len(first.splitlines()) == 6
    assert all(line.endswith("unchanged") for line in second.splitlines()), second


def test_nodes_are_ready_and_look_like_nodes(cluster: TestCluster) -> None:
    table = cluster.kubectl("get", "nodes", "-o", "wide")
    rows = table.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["node-1", "node-2", "node-3"]
    assert all(row.split()[1] == "Ready" for row in rows)
    assert "wherry://" in table
    described = cluster.kubectl("describe", "node", "node-1")
    for part in ("Allocatable:", "PodCIDR:", "Non-terminated Pods:", "kubelet is posting ready status"):
        assert part in described


def test_create_expose_and_reach_a_deployment(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=example:1", "--replicas=2", "--port=8080")
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    assert "web" in kubectl("get", "services")
    until(lambda: len(kubectl.json("get", "endpoints", "web").get("subsets", [])) == 1, "endpoints of the service")
    for each in kubectl.pods("app=web"):
        name = each["metadata"]["name"]
        kubectl("exec", name, "--", "sh", "-c", f"echo {name} > /srv/index.html")
    asked = kubectl("exec", "deployment/web", "--", "sh", "-c", "for i in $(seq 30); do wget -q -O - http://web/; done")
    assert set(asked.split()) == {each["metadata"]["name"] for each in kubectl.pods("app=web")}


def test_every_output_form_of_get(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "settings", "--from-literal=colour=blue", "--from-literal=size=9")
    assert kubectl.json("get", "configmap", "settings")["data"] == {"colour": "blue", "size": "9"}
    assert yaml.safe_load(kubectl("get", "cm", "settings", "-o", "yaml"))["data"]["colour"] == "blue"
    assert kubectl("get", "cm", "settings", "-o", "name") == "configmap/settings\n"
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data.size}") == "9"
    assert kubectl("get", "cm", "settings", "-o", "go-template={{.data.colour}}") == "blue"
    custom = kubectl("get", "cm", "settings", "-o", "custom-columns=NAME:.metadata.name,SIZE:.data.size")
    assert custom.split() == ["NAME", "SIZE", "settings", "9"]
    assert kubectl("get", "cm", "settings", "--no-headers").split()[:2] == ["settings", "2"]
    assert "LABELS" in kubectl("get", "cm", "--show-labels")
    wide = kubectl("get", "cm", "-o", "wide")
    assert wide.splitlines()[0].split() == ["NAME", "DATA", "AGE"]


def test_get_watch_shows_every_change(kubectl: Kubectl) -> None:
    watch = kubectl.start("get", "configmaps", "-w", "--no-headers")
    try:
        kubectl("create", "configmap", "first", "--from-literal=a=1")
        kubectl("patch", "configmap", "first", "-p", json.dumps({"data": {"b": "2"}}))
        kubectl("delete", "configmap", "first")
        assert watch.stdout is not None
        seen = []
        for line in watch.stdout:
            if line.startswith("first"):
                seen.append(line.split()[1])
            if len(seen) == 3:
                break
        assert seen == ["1", "2", "2"]
    finally:
        watch.kill()
        watch.communicate()


def test_describe_tells_what_happened_to_a_pod(kubectl: Kubectl) -> None:
    kubectl.apply(pod("one", "echo started; exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")

    def described() -> str:
        text = kubectl("describe", "pod", "one")
        return text if all(reason in text for reason in ("Scheduled", "Pulled", "Created", "Started")) else ""

    text = until(described, "the events of the pod's start")
    assert "Container ID:   wherry://" in text or "Container ID:  wherry://" in text
    assert "QoS Class:" in text
    assert "kube-api-access-" in text


def test_scale_up_and_down(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 1))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("scale", "deployment/web", "--replicas=4")
    kubectl("wait", "--for=jsonpath={.status.readyReplicas}=4", "deployment/web", "--timeout=90s")
    assert {p["spec"]["nodeName"] for p in kubectl.pods("app=web")} == {"node-1", "node-2", "node-3"}
    kubectl("scale", "deployment/web", "--replicas=1")
    until(lambda: len(kubectl.pods("app=web")) == 1, "three pods to be gone")


def test_rollout_restart_history_and_undo(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2, env=[{"name": "VERSION", "value": "one"}]))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    kubectl("set", "env", "deployment/web", "VERSION=two")
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    before = {p["metadata"]["uid"] for p in kubectl.pods("app=web")}
    assert [line.split()[0] for line in kubectl("rollout", "history", "deployment/web").splitlines()[2:] if line] == [
        "1",
        "2",
    ]
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    env = kubectl.json("get", "deployment", "web")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "VERSION", "value": "one"}]
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    until(lambda: not before & {p["metadata"]["uid"] for p in kubectl.pods("app=web")}, "all pods replaced")


def test_a_broken_rollout_keeps_the_old_pods_and_says_why(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    kubectl("set", "image", "deployment/web", "main=missing:9")
    until(
        lambda: "ImagePullBackOff" in kubectl("get", "pods") or "ErrImagePull" in kubectl("get", "pods"),
        "a failing pull",
    )
    assert kubectl.json("get", "deployment", "web")["status"]["availableReplicas"] >= 2 - 1
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")


def test_logs_follow_previous_and_tail(kubectl: Kubectl) -> None:
    kubectl.apply(pod("talker", "for i in 1 2 3; do echo line $i; done; echo oops >&2; exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
    assert kubectl("logs", "talker").splitlines() == ["line 1", "line 2", "line 3", "oops"]
    assert kubectl("logs", "talker", "--tail=1") == "oops\n"
    stamped = kubectl("logs", "talker", "--timestamps", "--tail=1")
    assert stamped.split()[0].endswith("Z")
    follow = kubectl.start("logs", "-f", "talker")
    kubectl("exec", "talker", "--", "sh", "-c", "echo more > /proc/1/fd/1")
    assert follow.stdout is not None
    lines = []
    for line in follow.stdout:
        lines.append(line.strip())
        if line == "more\n":
            break
    assert lines[-1] == "more"
    kubectl("delete", "pod", "talker", "--wait=false")
    assert follow.wait(timeout=60) == 0
    follow.communicate()


def test_logs_of_the_previous_container(kubectl: Kubectl) -> None:
    kubectl.apply(pod("crasher", "echo attempt; exit 3"))
    until(
        lambda: kubectl.pods()[0].get("status", {}).get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1,
        "a restart",
    )
    assert "attempt" in kubectl("logs", "crasher", "--previous")
    until(lambda: "CrashLoopBackOff" in kubectl("get", "pod", "crasher"), "the back-off to show")
    last = kubectl.pods()[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")


def test_exec_passes_input_output_and_exit_codes(kubectl: Kubectl) -> None:
    kubectl.apply(pod("shell", "exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    assert kubectl("exec", "shell", "--", "hostname") == "shell\n"
    assert kubectl("exec", "-i", "shell", "--", "wc", "-c", stdin="x" * 100_000).strip() == "100000"
    failed = kubectl.run("exec", "shell", "--", "sh", "-c", "echo bad >&2; exit 7", check=False)
    assert failed.returncode == 7
    assert "bad" in failed.stderr
    missing = kubectl.run("exec", "shell", "--", "no-such-program", check=False)
    assert missing.returncode != 0
    assert "no-such-program" in missing.stderr


def test_exec_with_a_terminal(kubectl: Kubectl) -> None:
    kubectl.apply(pod("shell", "exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    ours, theirs = pty.openpty()
    session = subprocess.Popen(
        kubectl.command("exec", "-it", "shell", "--", "sh"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=kubectl.environment(),
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"tty && echo done-$((40+2))\nexit 5\n")
    seen = b""
    while b"done-42" not in seen:
        seen += os.read(ours, 4096)
    assert b"/dev/pts/" in seen
    assert session.wait(timeout=30) == 5
    os.close(ours)


def test_wait_for_deletion(kubectl: Kubectl) -> None:
    kubectl.apply(pod("brief", "trap 'exit 0' TERM; sleep 1000 & wait"))
    kubectl("wait", "--for=condition=Ready", "pod/brief", "--timeout=60s")
    kubectl("delete", "pod", "brief", "--timeout=60s")
    assert "NotFound" in kubectl.run("get", "pod", "brief", check=False).stderr


def test_events_say_why_a_pod_waits(kubectl: Kubectl) -> None:
    kubectl.apply(pod("greedy", "true", resources={"requests": {"cpu": "1000"}}))
    until(lambda: "Insufficient cpu" in kubectl("events", "--for", "pod/greedy"), "an event with the reason")
    assert "FailedScheduling" in kubectl("get", "events")
    condition = kubectl.pods()[0]["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")


def test_a_waiting_pod_starts_when_its_label_appears(kubectl: Kubectl, cluster: TestCluster) -> None:
    manifest = pod("picky", "exec sleep 1000")
    manifest["spec"]["nodeSelector"] = {"colour": "red"}
    kubectl.apply(manifest)
    until(lambda: "node affinity/selector" in kubectl("describe", "pod", "picky"), "the reason")
    cluster.kubectl("label", "node", "node-2", "colour=red")
    try:
        kubectl("wait", "--for=condition=Ready", "pod/picky", "--timeout=60s")
        assert kubectl.pods()[0]["spec"]["nodeName"] == "node-2"
    finally:
        cluster.kubectl("label", "node", "node-2", "colour-")


def test_cordon_and_drain_move_pods(kubectl: Kubectl, cluster: TestCluster) -> None:
    kubectl.apply(deployment("web", 3))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    try:
        cluster.kubectl("drain", "node-3", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
        until(
            lambda: (
                {p["spec"].get("nodeName") for p in kubectl.pods("app=web") if p["status"]["phase"] == "Running"}
                == {"node-1", "node-2"}
            ),
            "pods to run on the other nodes",
        )
    finally:
        cluster.kubectl("uncordon", "node-3")


def test_delete_of_a_deployment_takes_its_pods(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    kubectl("delete", "deployment", "web", "--timeout=60s")
    until(
        lambda: kubectl.pods() == [] and kubectl.json("get", "replicasets")["items"] == [],
        "pods and replica sets to go",
    )


def test_deleting_a_namespace_empties_it(cluster: TestCluster) -> None:
    cluster.kubectl("create", "namespace", "doomed")
    inside = Kubectl(cluster.kubectl.kubeconfig, "doomed")
    inside.apply(deployment("web", 2))
    inside("create", "configmap", "c", "--from-literal=a=b")
    cluster.kubectl("delete", "namespace", "doomed", "--timeout=90s")
    assert "NotFound" in cluster.kubectl.run("get", "namespace", "doomed", check=False).stderr
    assert inside.json("get", "pods,configmaps,replicasets")["items"] == []


def test_a_job_runs_to_completion_and_counts_failures(kubectl: Kubectl) -> None:
    kubectl("create", "job", "ok", "--image=example:1", "--", "true")
    kubectl("wait", "--for=condition=Complete", "job/ok", "--timeout=60s")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "bad"},
        "spec": {"backoffLimit": 1, "template": {"spec": pod("x", "exit 2", "Never")["spec"]}},
    }
    kubectl.apply(job)
    kubectl("wait", "--for=condition=Failed", "job/bad", "--timeout=120s")
    status = kubectl.json("get", "job", "bad")["status"]
    assert status["failed"] == 2
    assert status["conditions"][-1]["reason"] == "BackoffLimitExceeded"


def test_explain_and_api_resources_know_the_kinds(cluster: TestCluster) -> None:
    listed = cluster.kubectl("api-resources")
    for name in ("pods", "deployments", "endpointslices", "leases", "jobs"):
        assert f"\n{name} " in listed
    assert "FIELDS" in cluster.kubectl("explain", "deployment.spec.strategy")


def test_unknown_fields_are_named(kubectl: Kubectl) -> None:
    manifest = pod("p", "true")
    manifest["spec"]["containers"][0]["imagee"] = "x"
    result = kubectl.run("apply", "-f", "-", stdin=json.dumps(manifest), check=False)
    assert result.returncode != 0
    assert 'unknown field "spec.containers[0].imagee"' in result.stderr
