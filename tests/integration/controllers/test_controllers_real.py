"""The controllers as a process, against a real broker and API server, also when they are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from shared.errors import ApiError
from shared.objects import meta
from tests.fakes.nats import NatsServer
from tests.integration.controllers.harness import LEASE_TTL, Cluster, cluster

Object = dict[str, Any]
APPS = "/apis/apps/v1/namespaces/default"
PODS = "/api/v1/namespaces/default/pods"


def deployment(replicas: int, image: str = "web:1", **spec: Any) -> Object:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 3, "containers": [{"name": "main", "image": image}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


async def complete(found: Cluster, replicas: int) -> None:
    """Wait until the Deployment has rolled out."""

    async def condition() -> bool:
        obj = await found.api.get(f"{APPS}/deployments/web")
        status = obj.get("status", {})
        seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        progressing = meta.condition(obj, "Progressing") or {}
        return seen and counts == [replicas] * 3 and progressing.get("reason") == "NewReplicaSetAvailable"

    await found.until(condition, "a complete rollout")


async def test_a_deployment_rolls_out_and_its_service_finds_the_pods(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1", "node-2") as found:
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
        await found.api.create(
            "/api/v1/namespaces/default/services",
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec},
        )
        await found.api.create(f"{APPS}/deployments", deployment(3))
        await complete(found, 3)

        async def ready_endpoints() -> bool:
            slices = await found.items("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")
            endpoints = [one for part in slices if "web" in part["metadata"]["name"] for one in part["endpoints"] or ()]
            return len(endpoints) == 3 and all(one["conditions"]["ready"] for one in endpoints)

        await found.until(ready_endpoints, "three ready endpoints")
        nodes = await found.items("/api/v1/nodes")
        assert {node["spec"]["podCIDR"] for node in nodes} == {"10.244.0.0/24", "10.244.1.0/24"}

        patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}}}
        await found.api.patch(f"{APPS}/deployments/web", patch, "strategic")
        await complete(found, 3)
        pods = [pod for pod in await found.items(PODS) if not meta.is_deleting(pod)]
        assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"web:2"}
        obj = await found.api.get(f"{APPS}/deployments/web")
        assert obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


async def test_a_kill_in_the_middle_of_a_rollout_neither_doubles_nor_stops_it(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1", "node-2") as found:
        found.nodes.starts = False
        await found.api.create(f"{APPS}/deployments", deployment(40))

        async def some() -> bool:
            return len(await found.items(PODS)) >= 3

        await found.until(some, "the first pods")
        found.plane.kill("controllers")
        found.plane.start("controllers")
        found.nodes.starts = True
        await complete(found, 40)
        pods = await found.items(PODS)
        assert len(pods) == 40
        assert len(await found.items(f"{APPS}/replicasets")) == 1

        async def told() -> bool:
            events = await found.items("/api/v1/namespaces/default/events")
            reasons = Counter(event["reason"] for event in events)
            return reasons["SuccessfulCreate"] > 0 and reasons["ScalingReplicaSet"] > 0

        await found.until(told, "events")


async def test_a_job_completes_although_the_controllers_die_while_it_counts(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1") as found:
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "sum:1"}]}}
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "sum"},
            "spec": {"completions": 6, "parallelism": 6, "template": template},
        }
        jobs = "/apis/batch/v1/namespaces/default/jobs"
        await found.api.create(jobs, job)

        async def running() -> list[Object]:
            pods = await found.items(PODS)
            return pods if len(pods) == 6 and all(meta.pod_ready(pod) for pod in pods) else []

        pods = await found.until(running, "six pods")
        found.plane.kill("controllers")
        for pod in pods:
            body = {"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}}
            await found.api.patch(f"{PODS}/{meta.name(pod)}/status", body, "strategic")
        found.plane.start("controllers")

        async def counting() -> bool:
            status = (await found.api.get(f"{jobs}/sum"))["status"]
            return bool(status.get("uncountedTerminatedPods") or status.get("succeeded"))

        await found.until(counting, "the first step of counting")
        found.plane.kill("controllers")
        found.plane.start("controllers")

        async def done() -> Object:
            obj = await found.api.get(f"{jobs}/sum")
            return obj if meta.condition_true(obj, "Complete") else {}

        obj = await found.until(done, "completion")
        assert obj["status"]["succeeded"] == 6
        assert not any(pod["metadata"].get("finalizers") for pod in await found.items(PODS))


async def test_deletion_cascades_and_a_namespace_ends(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1") as found:
        await found.api.create(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        )

        async def furnished() -> bool:
            base = "/api/v1/namespaces/shop"
            return bool(
                await found.get(f"{base}/serviceaccounts/default")
                and await found.get(f"{base}/configmaps/kube-root-ca.crt")
            )

        await found.until(furnished, "the default account and the root certificate")
        path = "/apis/apps/v1/namespaces/shop/deployments"
        await found.api.create(path, deployment(2))

        async def running() -> bool:
            pods = await found.items("/api/v1/namespaces/shop/pods")
            return len(pods) == 2 and all(meta.pod_ready(pod) for pod in pods)

        await found.until(running, "two pods")
        await found.api.delete(f"{path}/web", {"propagationPolicy": "Foreground"})

        async def empty() -> bool:
            return not await found.items("/api/v1/namespaces/shop/pods") and await found.get(f"{path}/web") is None

        await found.until(empty, "the foreground deletion")
        await found.api.create(path, deployment(2))
        await found.until(running, "two pods again")
        await found.api.delete("/api/v1/namespaces/shop")

        async def gone() -> bool:
            return await found.get("/api/v1/namespaces/shop") is None

        await found.until(gone, "the end of the namespace")


async def test_pods_of_a_dead_node_move_but_not_when_the_controllers_were_away(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1", "node-2") as found:
        await found.api.create(f"{APPS}/deployments", deployment(4))
        await complete(found, 4)
        before = {meta.uid(pod) for pod in await found.items(PODS)}

        found.plane.kill("controllers")
        found.plane.start("controllers")

        async def leads() -> bool:
            return found.plane.log("controllers").count(": leading") >= 2

        await found.until(leads, "the second leader")

        async def same_pods() -> bool:
            return {meta.uid(pod) for pod in await found.items(PODS) if not meta.is_deleting(pod)} == before

        await found.remains(same_pods, "a restart of the controllers evicted pods")

        found.nodes.alive.discard("node-2")

        async def moved() -> bool:
            pods = await found.items(PODS)
            return len(pods) == 4 and all(pod["spec"].get("nodeName") == "node-1" for pod in pods)

        await found.until(moved, "all pods on the living node", 60)

        async def seen_as_lost() -> bool:
            node = await found.api.get("/api/v1/nodes/node-2")
            ready = meta.condition(node, "Ready") or {}
            taints = {taint["key"] for taint in node["spec"].get("taints") or ()}
            return ready.get("status") == "Unknown" and "node.kubernetes.io/unreachable" in taints

        await found.until(seen_as_lost, "the lost node to be marked")

        found.nodes.alive.add("node-2")

        async def untainted() -> bool:
            return not (await found.api.get("/api/v1/nodes/node-2"))["spec"].get("taints")

        await found.until(untainted, "the end of the taints")


async def test_a_broker_that_was_away_costs_nobody_a_pod(nats_server: NatsServer, tmp_path: Path) -> None:
    async with cluster(nats_server, tmp_path / "data", "node-1", "node-2") as found:
        await found.api.create(f"{APPS}/deployments", deployment(4))
        await complete(found, 4)
        before = {meta.uid(pod) for pod in await found.items(PODS)}
        nats_server.kill()
        # longer than a lease lives
        await asyncio.sleep(LEASE_TTL + 2)
        nats_server.start()

        async def works() -> bool:
            try:
                await found.api.patch(f"{APPS}/deployments/web", {"spec": {"replicas": 5}})
            except ApiError:
                return False
            return True

        await found.until(works, "the API server's return")
        await complete(found, 5)

        async def same_pods() -> bool:
            return before <= {meta.uid(pod) for pod in await found.items(PODS) if not meta.is_deleting(pod)}

        await found.remains(same_pods, "an outage of the broker evicted pods")
