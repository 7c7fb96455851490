"""Workloads beyond Deployments: StatefulSets with their names, CronJobs, budgets for disruptions."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import Kubectl, deployment, pod_spec, until


def statefulset(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    command = "hostname > /srv/index.html; exec httpd -f -p 8080 -h /srv"
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": name,
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(command)},
        },
    }


def test_a_stateful_set_gives_its_pods_names_that_resolve(kubectl: Kubectl) -> None:
    kubectl("create", "service", "clusterip", "db", "--clusterip=None", "--tcp=8080:8080")
    kubectl.apply(statefulset("db", 3))
    kubectl("rollout", "status", "statefulset/db", "--timeout=90s")
    assert sorted(each["metadata"]["name"] for each in kubectl.pods("app=db")) == ["db-0", "db-1", "db-2"]
    ask = ["exec", "db-0", "--", "wget", "-q", "-O-", "http://db-2.db:8080/"]
    until(lambda: kubectl.run(*ask, check=False).stdout == "db-2\n", "db-2 to answer by its name", 30)
    kubectl("scale", "statefulset/db", "--replicas=1")
    until(
        lambda: [each["metadata"]["name"] for each in kubectl.pods("app=db")] == ["db-0"], "the higher ordinals to go"
    )


def test_a_cron_job_runs_its_job(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "tick", "--image=example:1", "--schedule=* * * * *", "--", "echo", "tock")
    until(lambda: kubectl.json("get", "jobs")["items"], "the first run", 75)
    name = kubectl.json("get", "jobs")["items"][0]["metadata"]["name"]
    kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=60s")
    assert kubectl("logs", f"job/{name}") == "tock\n"


def test_a_budget_refuses_an_eviction_that_would_cost_too_much(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2")
    kubectl("wait", "--for=jsonpath={.status.currentHealthy}=2", "pdb/web", "--timeout=30s")
    name = kubectl.pods("app=web")[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/eviction"
    eviction = '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"' + name + '"}}'
    refused = kubectl.run("create", "--raw", path, "-f", "-", stdin=eviction, check=False)
    assert "disruption budget" in refused.stderr
    kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"minAvailable":1}}')
    until(
        lambda: kubectl.run("create", "--raw", path, "-f", "-", stdin=eviction, check=False).returncode == 0,
        "the eviction to be allowed",
        30,
    )
