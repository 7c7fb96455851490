"""StatefulSets, disruption budgets and CronJobs as the process runs them, against a real broker and API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.errors import TooManyRequests
from shared.objects import meta
from tests.fakes.nats import NatsServer
from tests.integration.controllers.harness import Cluster, cluster

Object = dict[str, Any]
APPS = "/apis/apps/v1/namespaces/default"
PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


def statefulset(replicas: int, image: str = "db:1") -> Object:
    """One claim a pod, which goes when the StatefulSet is scaled."""
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": image}]},
    }
    request = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    spec = {
        "replicas": replicas,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "template": template,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": request}],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}


def eviction(name: str) -> Object:
    """What `kubectl drain` sends for a pod."""
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}


async def complete(found: Cluster, replicas: int) -> Object:
    """Wait until the StatefulSet has rolled out, in the words of `kubectl rollout status`."""

    async def condition() -> Object | None:
        obj = await found.api.get(f"{APPS}/statefulsets/db")
        status = obj.get("status", {})
        seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        counts = [status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")]
        same = status.get("currentRevision") == status.get("updateRevision")
        return obj if seen and same and counts == [replicas] * 4 else None

    return await found.until(condition, f"{replicas} pods of the current revision")  # type: ignore[no-any-return]


async def test_a_statefulset_rolls_out_is_updated_and_scaled_with_its_claims(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1", "node-2") as found:
        await found.api.create(f"{APPS}/statefulsets", statefulset(3))
        await complete(found, 3)
        pods = await found.items(PODS)
        assert [meta.name(pod) for pod in pods] == ["db-0", "db-1", "db-2"]
        assert [pod["spec"]["hostname"] for pod in pods] == ["db-0", "db-1", "db-2"]
        assert [meta.name(claim) for claim in await found.items(CLAIMS)] == ["data-db-0", "data-db-1", "data-db-2"]

        patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "db:2"}]}}}}
        await found.api.patch(f"{APPS}/statefulsets/db", patch, "strategic")
        found.plane.kill("controllers")
        found.plane.start("controllers")
        await complete(found, 3)
        assert {pod["spec"]["containers"][0]["image"] for pod in await found.items(PODS)} == {"db:2"}

        await found.api.patch(f"{APPS}/statefulsets/db", {"spec": {"replicas": 1}})
        await complete(found, 1)

        async def claims_left() -> bool:
            return [meta.name(claim) for claim in await found.items(CLAIMS)] == ["data-db-0"]

        await found.until(claims_left, "the claims of the other pods to go")


async def test_an_eviction_is_refused_when_the_budget_is_spent(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1") as found:
        await found.api.create(f"{APPS}/statefulsets", statefulset(2))
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}}
        budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "db"}, "spec": spec}
        await found.api.create(BUDGETS, budget)
        await complete(found, 2)

        async def allowed() -> bool:
            return (await found.api.get(f"{BUDGETS}/db"))["status"]["disruptionsAllowed"] == 1

        await found.until(allowed, "one disruption to be allowed")
        found.nodes.starts = False
        await found.api.create(f"{PODS}/db-1/eviction", eviction("db-1"))
        with pytest.raises(TooManyRequests):
            await found.api.create(f"{PODS}/db-0/eviction", eviction("db-0"))
        found.nodes.starts = True
        await complete(found, 2)
        await found.until(allowed, "the disruption to be allowed again")


async def test_a_cronjob_starts_jobs_on_time(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1") as found:
        pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "db:1"}]}
        spec = {"schedule": "@every 1s", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
        cronjobs = "/apis/batch/v1/namespaces/default/cronjobs"
        await found.api.create(
            cronjobs, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": spec}
        )

        async def started() -> Object | None:
            obj = await found.api.get(f"{cronjobs}/tick")
            return obj if obj.get("status", {}).get("active") else None

        obj = await found.until(started, "an active run")
        jobs = await found.items("/apis/batch/v1/namespaces/default/jobs")
        assert meta.uid(jobs[0]) in {one["uid"] for one in obj["status"]["active"]}
        assert obj["status"]["lastScheduleTime"]
