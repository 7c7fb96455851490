"""What namespaces bound and clusters demand, as kubectl users meet it; a webhook that runs as a pod."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from tests.e2e.harness import Kubectl, deployment, pod, until
from tests.fakes.webhooks import certificate, configuration, rule

Object = dict[str, Any]
SERVER = """
import http.server, json, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))["request"]
        allowed = request["object"]["metadata"]["name"] != "bad"
        response = {"uid": request["uid"], "allowed": allowed, "status": {"code": 403, "message": "not this name"}}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/hook/tls.pem")
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_a_quota_bounds_the_pods_of_a_namespace_and_follows_them(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "few", "--hard=pods=2,count/configmaps=9")
    until(lambda: "used" in kubectl.json("get", "quota", "few").get("status", {}), "the quota to be counted")
    kubectl.apply(deployment("web", 3))
    until(lambda: len(kubectl.pods("app=web")) == 2, "two pods to be admitted")
    until(lambda: "exceeded quota: few" in kubectl("get", "events"), "an event about the third one")
    assert kubectl.json("get", "quota", "few")["status"]["used"] == {"pods": "2", "count/configmaps": "1"}
    refused = kubectl.run("create", "-f", "-", stdin=json.dumps(pod("more", "sleep 1000")), check=False).stderr
    assert 'pods "more" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2' in refused
    kubectl("scale", "deployment/web", "--replicas=1")
    until(lambda: kubectl.json("get", "quota", "few")["status"]["used"]["pods"] == "1", "the quota to be replenished")
    kubectl.apply(pod("more", "sleep 1000"))
    assert "pods" in kubectl("describe", "quota", "few")


def test_a_limit_range_fills_in_what_containers_leave_out(kubectl: Kubectl) -> None:
    limit = {"type": "Container", "default": {"memory": "64Mi"}, "max": {"memory": "128Mi"}}
    kubectl.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [limit]}})
    kubectl.apply(pod("plain", "exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/plain", "--timeout=60s")
    assert kubectl.pods()[0]["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "64Mi"},
        "requests": {"memory": "64Mi"},
    }
    greedy = json.dumps(pod("greedy", "true", resources={"limits": {"memory": "1Gi"}}))
    refused = kubectl.run("create", "-f", "-", stdin=greedy, check=False).stderr
    assert "maximum memory usage per Container is 128Mi, but limit is 1Gi" in refused


def test_pod_security_warns_and_enforces(kubectl: Kubectl) -> None:
    privileged = pod("root", "sleep 1000", securityContext={"privileged": True})
    label = ("label", "--overwrite", "namespace", kubectl.namespace)
    kubectl(*label, "pod-security.kubernetes.io/warn=baseline")
    warned = kubectl.run("create", "-f", "-", stdin=json.dumps(privileged)).stderr
    why = 'PodSecurity "baseline:latest": privileged (container "main" must not set securityContext.privileged=true)'
    assert f"Warning: would violate {why}" in warned
    labelled = kubectl.run(*label, "pod-security.kubernetes.io/enforce=baseline").stderr
    assert f'existing pods in namespace "{kubectl.namespace}" violate the new PodSecurity enforce level' in labelled
    privileged["metadata"]["name"] = "again"
    refused = kubectl.run("create", "-f", "-", stdin=json.dumps(privileged), check=False).stderr
    assert f'pods "again" is forbidden: violates {why}' in refused


def test_a_webhook_that_runs_as_a_pod_is_asked(kubectl: Kubectl) -> None:
    name = f"hook.{kubectl.namespace}.svc"
    pem, authority = certificate((name,))
    tls = {"tls.pem": base64.b64encode(pem).decode()}
    kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "data": tls})
    interpreter = Path(sys.executable).resolve()
    paths = [path for path in (str(interpreter.parents[1]), "/lib", "/lib64", "/usr/lib") if Path(path).exists()]
    server = pod("hook", "", ports=[{"containerPort": 8443}])
    volumes = [{"name": f"v{number}", "hostPath": {"path": path}} for number, path in enumerate(paths)]
    mounts = [{"name": f"v{number}", "mountPath": path, "readOnly": True} for number, path in enumerate(paths)]
    server["spec"]["volumes"] = [*volumes, {"name": "tls", "secret": {"secretName": "tls"}}]
    container = server["spec"]["containers"][0]
    container["command"] = [str(interpreter), "-c", SERVER]
    container["volumeMounts"] = [*mounts, {"name": "tls", "mountPath": "/hook"}]
    container["readinessProbe"] = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    kubectl.apply(server)
    kubectl("wait", "--for=condition=Ready", "pod/hook", "--timeout=60s")
    kubectl("expose", "pod", "hook", "--port=443", "--target-port=8443")
    hook = {
        "name": "names.example.com",
        "clientConfig": {
            "service": {"namespace": kubectl.namespace, "name": "hook"},
            "caBundle": base64.b64encode(authority).decode(),
        },
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}},
        "rules": [rule()],
    }
    hooks = configuration("Validating", hook, name=kubectl.namespace)
    kubectl.apply(hooks)
    try:
        until(lambda: kubectl.run("create", "configmap", "good", check=False).returncode == 0, "the webhook to answer")
        refused = kubectl.run("create", "configmap", "bad", check=False).stderr
        assert 'admission webhook "names.example.com" denied the request: not this name' in refused
        kubectl("delete", "pod", "hook")
        until(
            lambda: "no endpoints available" in kubectl.run("create", "configmap", "late", check=False).stderr,
            "writes to be refused while nobody answers",
        )
    finally:
        kubectl("delete", "validatingwebhookconfiguration", kubectl.namespace)
