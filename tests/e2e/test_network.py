"""Pods, Services and names, from inside pods, from the nodes and from the host."""

from __future__ import annotations

import subprocess
import urllib.request

from tests.e2e.harness import Kubectl, TestCluster, deployment, pod, until


def page(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return str(answer.read().decode()).strip()
    except OSError:
        return ""


def test_the_example_answers_on_every_nodes_port(cluster: TestCluster) -> None:
    for i in (11, 12, 13):
        assert page(f"http://10.91.0.{i}:30080/").startswith("ahoy from web-")


def test_pods_are_in_ip_netns(cluster: TestCluster) -> None:
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert sum(1 for line in listed.splitlines() if line.startswith("wtest-node-1-")) >= 1


def test_pods_reach_each_other_across_nodes_and_the_host_reaches_them(cluster: TestCluster, kubectl: Kubectl) -> None:
    for node in ("node-1", "node-2"):
        manifest = pod(f"on-{node}", f"echo {node} > /srv/index.html; exec httpd -f -p 8080 -h /srv")
        manifest["spec"]["nodeName"] = node
        kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    addresses = {each["metadata"]["name"]: each["status"]["podIP"] for each in kubectl.pods()}
    assert (
        kubectl("exec", "on-node-1", "--", "wget", "-q", "-O-", f"http://{addresses['on-node-2']}:8080/") == "node-2\n"
    )
    assert (
        kubectl("exec", "on-node-2", "--", "wget", "-q", "-O-", f"http://{addresses['on-node-1']}:8080/") == "node-1\n"
    )
    assert page(f"http://{addresses['on-node-1']}:8080/") == "node-1"
    assert kubectl("exec", "on-node-1", "--", "ping", "-c", "1", "-W", "2", "10.91.0.1")


def test_a_pod_reaches_itself_through_its_service(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("self", 1, "echo me > /srv/index.html; exec httpd -f -p 8080 -h /srv"))
    kubectl("expose", "deployment", "self", "--port=80", "--target-port=8080")
    kubectl("rollout", "status", "deployment/self", "--timeout=60s")
    until(
        lambda: (
            kubectl.run(
                "exec", "deployment/self", "--", "timeout", "2", "wget", "-q", "-O-", "http://self/", check=False
            ).stdout
            == "me\n"
        ),
        "the pod to answer itself",
        20,
    )


def test_names_resolve_in_full_and_short_forms(kubectl: Kubectl) -> None:
    kubectl.apply(pod("asker", "exec sleep 1000"))
    kubectl("create", "service", "clusterip", "thing", "--tcp=80:8080")
    kubectl("wait", "--for=condition=Ready", "pod/asker", "--timeout=60s")
    address = kubectl.json("get", "service", "thing")["spec"]["clusterIP"]
    for name in (
        f"thing.{kubectl.namespace}.svc.cluster.local",
        f"thing.{kubectl.namespace}.svc",
        f"thing.{kubectl.namespace}",
        "thing",
    ):
        until(
            lambda name=name: (
                address in kubectl.run("exec", "asker", "--", "ping", "-c", "1", "-W", "1", name, check=False).stdout
            ),
            f"{name} to resolve to {address}",
            15,
        )
    kubernetes = kubectl("exec", "asker", "--", "nslookup", "kubernetes.default.svc.cluster.local")
    assert "10.97.0.1" in kubernetes


def test_a_headless_service_names_its_pods(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("create", "service", "clusterip", "web", "--clusterip=None", "--tcp=8080:8080")
    addresses = {each["status"]["podIP"] for each in kubectl.pods("app=web")}
    name = f"web.{kubectl.namespace}.svc.cluster.local"

    def answered() -> bool:
        text = kubectl.run("exec", "deployment/web", "--", "nslookup", name, check=False).stdout
        return all(address in text for address in addresses)

    until(answered, "both addresses in the answer", 20)


def test_a_service_without_ready_pods_refuses_at_once(kubectl: Kubectl) -> None:
    kubectl.apply(pod("asker", "exec sleep 1000"))
    kubectl("create", "service", "clusterip", "empty", "--tcp=80:80")
    kubectl("wait", "--for=condition=Ready", "pod/asker", "--timeout=60s")

    def refused() -> bool:
        result = kubectl.run("exec", "asker", "--", "timeout", "5", "wget", "-q", "-O-", "http://empty/", check=False)
        return "refused" in result.stderr

    until(refused, "the connection to be refused", 20)


def test_only_ready_pods_get_traffic(kubectl: Kubectl) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    kubectl.apply(
        deployment(
            "web", 2, "mkdir -p /tmp; hostname > /srv/index.html; exec httpd -f -p 8080 -h /srv", readinessProbe=probe
        )
    )
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    until(
        lambda: (
            len(kubectl.pods("app=web")) == 2
            and all(p["status"]["phase"] == "Running" for p in kubectl.pods("app=web"))
        ),
        "running pods",
    )
    one, other = (each["metadata"]["name"] for each in kubectl.pods("app=web"))
    kubectl("exec", one, "--", "touch", "/tmp/ready")
    kubectl("wait", "--for=condition=Ready", f"pod/{one}", "--timeout=30s")
    until(
        lambda: (
            kubectl.run("exec", other, "--", "timeout", "2", "wget", "-q", "-O-", "http://web/", check=False).stdout
            == f"{one}\n"
        ),
        "the ready pod to answer",
        20,
    )
    answers = kubectl("exec", other, "--", "sh", "-c", "for i in $(seq 20); do wget -q -O- http://web/; done")
    assert set(answers.split()) == {one}
