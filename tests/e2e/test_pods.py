"""What a pod gets: configuration, volumes, limits, probes and a graceful end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.harness import Kubectl, TestCluster, pod, until


def test_environment_from_every_source(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "conf", "--from-literal=colour=blue", "--from-literal=SIZE=9")
    kubectl("create", "secret", "generic", "hush", "--from-literal=password=pssst")
    kubectl.apply(
        pod(
            "env",
            "env; exec sleep 1000",
            env=[
                {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "colour"}}},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "hush", "key": "password"}}},
                {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
                {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                {"name": "BOTH", "value": "$(ME)-$(COLOUR)-$$(ME)"},
            ],
            envFrom=[{"configMapRef": {"name": "conf"}, "prefix": "C_"}],
            resources={"limits": {"memory": "64Mi"}},
        )
    )
    kubectl("wait", "--for=condition=Ready", "pod/env", "--timeout=60s")
    found = dict(line.split("=", 1) for line in kubectl("logs", "env").splitlines() if "=" in line)
    wanted = {
        "COLOUR": "blue", "PASSWORD": "pssst", "ME": "env", "LIMIT": str(64 << 20), "BOTH": "env-blue-$(ME)",
        "C_SIZE": "9", "C_colour": "blue", "HOSTNAME": "env", "KUBERNETES_SERVICE_HOST": "10.97.0.1",
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    assert "ABSENT" not in found


def test_a_missing_configmap_holds_the_container_and_says_so(kubectl: Kubectl) -> None:
    kubectl.apply(
        pod(
            "late",
            "echo $X; exec sleep 1000",
            env=[{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "x"}}}],
        )
    )
    until(lambda: "CreateContainerConfigError" in kubectl("get", "pods"), "the error to show")
    kubectl("create", "configmap", "later", "--from-literal=x=there")
    kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=90s")
    assert kubectl("logs", "late") == "there\n"


def test_volumes_hold_what_they_should(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "from-host").write_text("host\n")
    kubectl("create", "configmap", "conf", "--from-literal=a.txt=config")
    kubectl("create", "secret", "generic", "hush", "--from-literal=key=secret")
    manifest = pod(
        "vols",
        "cat /conf/a.txt /hush/key /host/from-host; ls -l /hush/..data/key | cut -c1-10;"
        " echo shared > /work/f; exec sleep 1000",
        volumeMounts=[
            {"name": "conf", "mountPath": "/conf"},
            {"name": "hush", "mountPath": "/hush", "readOnly": True},
            {"name": "work", "mountPath": "/work"},
            {"name": "ram", "mountPath": "/ram"},
            {"name": "host", "mountPath": "/host"},
        ],
    )
    manifest["spec"]["volumes"] = [
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "hush", "secret": {"secretName": "hush", "defaultMode": 0o400}},
        {"name": "work", "emptyDir": {}},
        {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
    ]
    manifest["spec"]["containers"].append(
        manifest["spec"]["containers"][0]
        | {
            "name": "second",
            "command": ["sh", "-c", "exec sleep 1000"],
            "volumeMounts": [{"name": "work", "mountPath": "/other"}],
        }
    )
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/vols", "--timeout=60s")
    assert kubectl("logs", "vols", "-c", "main") == "configsecrethost\n-r--------\n"
    assert kubectl("exec", "vols", "-c", "second", "--", "cat", "/other/f") == "shared\n"
    assert "tmpfs" in kubectl("exec", "vols", "-c", "main", "--", "df", "/ram")
    kubectl("exec", "vols", "-c", "main", "--", "sh", "-c", "echo back > /host/to-host")
    assert (tmp_path / "to-host").read_text() == "back\n"


def test_the_containers_of_a_pod_share_network_and_host_name_but_not_processes(kubectl: Kubectl) -> None:
    manifest = pod("pair", "echo x > /srv/index.html; exec httpd -f -p 8080 -h /srv")
    manifest["spec"]["containers"].append({"name": "second", "image": "example:1", "command": ["sleep", "1000"]})
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/pair", "--timeout=60s")
    assert kubectl("exec", "pair", "-c", "second", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/") == "x\n"
    assert kubectl("exec", "pair", "-c", "second", "--", "hostname") == "pair\n"
    processes = kubectl("exec", "pair", "-c", "second", "--", "ps", "-o", "pid,args")
    assert "httpd" not in processes
    assert any(line.split() == ["1", "sleep", "1000"] for line in processes.splitlines())
    for kind, same in (("net", True), ("ipc", True), ("uts", True), ("pid", False), ("mnt", False), ("cgroup", False)):
        links = {
            kubectl("exec", "pair", "-c", name, "--", "readlink", f"/proc/self/ns/{kind}")
            for name in ("main", "second")
        }
        assert (len(links) == 1) is same, kind


def test_limits_hold_and_oom_is_reported(kubectl: Kubectl) -> None:
    hungry = "x=a; while true; do x=$x$x; done"
    kubectl.apply(pod("hungry", hungry, "Never", resources={"limits": {"memory": "16Mi"}}))
    until(lambda: kubectl.pods()[0].get("status", {}).get("phase") == "Failed", "the pod to fail")
    state = kubectl.pods()[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


def test_exit_reasons_are_told(kubectl: Kubectl) -> None:
    kubectl.apply(pod("fine", "echo bye > /dev/termination-log", "Never"))
    kubectl.apply(pod("bad", "exit 3", "Never"))
    absent = pod("absent", "x", "Never")
    absent["spec"]["containers"][0]["command"] = ["/no/such/program"]
    kubectl.apply(absent)
    wanted = {"fine": ("Completed", 0), "bad": ("Error", 3), "absent": ("StartError", 128)}

    def ended() -> dict[str, tuple[str, int]]:
        found = {}
        for each in kubectl.pods():
            for status in each.get("status", {}).get("containerStatuses", []):
                if terminated := status["state"].get("terminated"):
                    found[each["metadata"]["name"]] = (terminated["reason"], terminated["exitCode"])
        return found if len(found) == 3 else {}

    assert until(ended, "all three to end") == wanted
    fine = next(each for each in kubectl.pods() if each["metadata"]["name"] == "fine")
    assert fine["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "bye\n"
    assert fine["status"]["phase"] == "Succeeded"


def test_a_failing_liveness_probe_restarts_the_container(kubectl: Kubectl) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 2}
    kubectl.apply(pod("frail", "mkdir -p /tmp; touch /tmp/alive; exec sleep 1000", livenessProbe=probe))
    kubectl("wait", "--for=condition=Ready", "pod/frail", "--timeout=60s")
    kubectl("exec", "frail", "--", "rm", "/tmp/alive")
    until(lambda: kubectl.pods()[0]["status"]["containerStatuses"][0]["restartCount"] == 1, "a restart")
    until(lambda: "Unhealthy" in kubectl("describe", "pod", "frail"), "the event")


def test_http_and_tcp_probes_decide_readiness(kubectl: Kubectl) -> None:
    http = {"httpGet": {"path": "/ok", "port": 8080}, "periodSeconds": 1}
    kubectl.apply(pod("http", "exec httpd -f -p 8080 -h /srv", readinessProbe=http))
    tcp = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    kubectl.apply(pod("tcp", "exec httpd -f -p 8080 -h /srv", readinessProbe=tcp))
    kubectl("wait", "--for=condition=Ready", "pod/tcp", "--timeout=60s")
    until(lambda: "HTTP probe failed with statuscode: 404" in kubectl("describe", "pod", "http"), "the probe's failure")
    kubectl("exec", "http", "--", "touch", "/srv/ok")
    kubectl("wait", "--for=condition=Ready", "pod/http", "--timeout=60s")


def test_init_containers_run_in_order_before_the_rest(kubectl: Kubectl) -> None:
    manifest = pod("ordered", "cat /work/log; exec sleep 1000", volumeMounts=[{"name": "work", "mountPath": "/work"}])
    manifest["spec"]["volumes"] = [{"name": "work", "emptyDir": {}}]
    manifest["spec"]["initContainers"] = [
        {
            "name": f"init-{i}",
            "image": "example:1",
            "command": ["sh", "-c", f"echo {i} >> /work/log"],
            "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        }
        for i in (1, 2)
    ]
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/ordered", "--timeout=60s")
    assert kubectl("logs", "ordered", "-c", "main") == "1\n2\n"


def test_a_graceful_stop_gives_time_and_then_none(kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = pod(
        "polite",
        "trap 'echo got TERM > /host/said; exit 0' TERM; while true; do sleep 1 & wait $!; done",
        volumeMounts=[{"name": "host", "mountPath": "/host"}],
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /host/hook"]}}},
    )
    manifest["spec"] |= {
        "volumes": [{"name": "host", "hostPath": {"path": str(tmp_path)}}],
        "terminationGracePeriodSeconds": 20,
    }
    kubectl.apply(manifest)
    stubborn = pod("stubborn", "trap '' TERM; while true; do sleep 1; done")
    kubectl.apply(stubborn)
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    kubectl("delete", "pod", "polite", "stubborn", "--timeout=60s")
    assert (tmp_path / "hook").read_text() == "stopping\n"
    assert (tmp_path / "said").read_text() == "got TERM\n"


def test_a_service_account_token_works_inside_the_pod(kubectl: Kubectl) -> None:
    kubectl.apply(pod("whoami", "exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/whoami", "--timeout=60s")
    token = kubectl("exec", "whoami", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    review = kubectl.run("--token", token, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", check=False)
    assert (
        kubectl("exec", "whoami", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        == kubectl.namespace
    )
    assert token.count(".") == 2
    assert review.returncode == 0


def test_nothing_of_a_deleted_pod_stays_on_its_node(cluster: TestCluster, kubectl: Kubectl) -> None:
    manifest = pod("traces", "exec sleep 1000")
    manifest["spec"]["nodeName"] = "node-2"
    before = traces(cluster)
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/traces", "--timeout=60s")
    made = traces(cluster) - before
    assert {kind for kind, _name in made} == {"netns", "link", "cgroup", "mount"}
    kubectl("delete", "pod", "traces", "--timeout=60s")
    # what pods of earlier tests had may go meanwhile
    until(lambda: not traces(cluster) & made, f"the end of {made}")


def traces(cluster: TestCluster) -> set[tuple[str, str]]:
    """Namespaces, links, cgroups and mounts of node-2: (kind, name)."""
    netns = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    links = cluster.in_node("node-2", "ip", "-o", "link")
    mounts = Path("/proc/self/mounts").read_text()
    groups = [path for path in Path("/sys/fs/cgroup").glob("*/wtest/node-2/**/pod*") if path.is_dir()]
    return {
        *(("netns", line.split()[0]) for line in netns.splitlines() if line.startswith("wtest-node-2-")),
        *(("link", line.split(":")[1].strip()) for line in links.splitlines()),
        *(("cgroup", str(path)) for path in groups),
        *(("mount", line.split()[1]) for line in mounts.splitlines() if "nodes/node-2" in line),
    }
