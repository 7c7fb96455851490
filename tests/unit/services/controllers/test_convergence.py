"""Whole controllers against an API in memory: where a cluster ends up, also after any crash."""

from __future__ import annotations

import pytest

from services.controllers.daemonsets.nodes import node_of
from services.controllers.jobs import indexes
from shared.errors import Forbidden
from shared.objects import meta
from tests.unit.services.controllers.cluster import Lease, Leases, controllers, settled, until
from tests.unit.services.controllers.objects import daemonset, deployment, job, namespace, node, replicaset, service
from tests.unit.services.controllers.world import World


def pods_of(world: World, image: str | None = None) -> list[dict]:
    found = [pod for pod in world.every("", "pods") if not meta.is_deleting(pod)]
    return [pod for pod in found if image is None or pod["spec"]["containers"][0]["image"] == image]


async def run_all(world: World) -> None:
    """Let every pending pod run until nothing changes any more."""
    for _ in range(60):
        await settled(world)
        waiting = [pod for pod in pods_of(world) if not meta.pod_ready(pod) and not meta.pod_finished(pod)]
        going = [pod for pod in world.every("", "pods") if meta.is_deleting(pod)]
        if not waiting and not going:
            return
        world.confirm()
        for pod in waiting:
            if (("", "pods", *meta.key(pod))) in world.stored:
                world.run(pod, node=node_of(pod) or "node-1")
    pytest.fail("the pods never come to rest")


async def test_a_deployment_rolls_out_and_reports_completion() -> None:
    world = World()
    world.put(deployment())
    async with controllers(world):
        await run_all(world)
    found = world.get("apps", "deployments", "shop", "web")
    assert len(pods_of(world)) == 3
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    status = found["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)
    reasons = {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
    assert reasons == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


async def test_an_update_replaces_all_pods_and_keeps_the_old_replicaset() -> None:
    world = World()
    found = world.put(deployment())
    async with controllers(world):
        await run_all(world)
        world.edit(found, lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image="web:2"))
        await run_all(world)
    assert len(pods_of(world, "web:2")) == 3
    assert pods_of(world, "web:1") == []
    sizes = sorted(one["spec"]["replicas"] for one in world.every("apps", "replicasets"))
    assert sizes == [0, 3]


async def test_a_rollback_takes_the_next_revision_and_remembers_the_old_one() -> None:
    world = World()
    found = world.put(deployment())
    async with controllers(world):
        await run_all(world)
        for image in ("web:2", "web:1"):
            world.edit(
                found, lambda new, image=image: new["spec"]["template"]["spec"]["containers"][0].update(image=image)
            )
            await run_all(world)
    current = next(one for one in world.every("apps", "replicasets") if one["spec"]["replicas"] == 3)
    annotations = current["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "3"
    assert annotations["deployment.kubernetes.io/revision-history"] == "1"
    assert len(world.every("apps", "replicasets")) == 2


async def test_recreate_never_runs_two_revisions_at_once() -> None:
    world = World()
    found = world.put(deployment(strategy={"type": "Recreate"}))
    async with controllers(world):
        await run_all(world)
        world.edit(found, lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image="web:2"))
        await settled(world)
        assert world.every("", "pods")
        assert {pod["spec"]["containers"][0]["image"] for pod in world.every("", "pods")} == {"web:1"}
        await run_all(world)
    assert len(pods_of(world, "web:2")) == 3


async def test_a_paused_deployment_scales_but_does_not_roll_out() -> None:
    world = World()
    found = world.put(deployment())
    async with controllers(world):
        await run_all(world)

        def change(new: dict) -> None:
            new["spec"].update(paused=True, replicas=5)
            new["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"

        world.edit(found, change)
        await run_all(world)
        assert len(pods_of(world, "web:1")) == 5
        world.edit(found, lambda new: new["spec"].update(paused=False))
        await run_all(world)
    assert len(pods_of(world, "web:2")) == 5


@pytest.mark.parametrize("writes", range(14))
async def test_a_crash_after_any_write_never_doubles_anything(writes: int) -> None:
    world = World()
    world.put(deployment())
    world.lag = 0.003
    world.writes_left = writes
    async with controllers(world):
        await settled(world)
    world.writes_left = None
    async with controllers(world):
        await run_all(world)
    assert len(pods_of(world)) == 3
    assert len(world.every("apps", "replicasets")) == 1
    assert len([ref for ref in world.created if ref.resource == "pods"]) == 3


async def test_a_create_that_the_cache_does_not_show_yet_is_not_repeated() -> None:
    world = World()
    world.put(replicaset())
    # the first process writes two pods; the second one starts before its cache shows them
    world.lagging, world.writes_left = True, 3
    async with controllers(world):
        await until(lambda: world.writes_left is not None and world.writes_left < 0)
    behind, world._behind = world._behind, []
    world.writes_left = None
    async with controllers(world):
        world._behind = behind + world._behind
        await until(lambda: len(world.every("", "pods")) >= 3)
        world.lagging = False
        world.catch_up()
        await settled(world)
    assert len([ref for ref in world.created if ref.resource == "pods"]) == 3


async def test_a_quota_that_refuses_pods_shows_as_replica_failure() -> None:
    world = World()
    world.refuse = lambda method, obj: (
        Forbidden("exceeded quota") if method == "create" and obj and obj["kind"] == "Pod" else None
    )
    found = world.put(replicaset())

    def failure() -> object:
        status = world.get("apps", "replicasets", "shop", "web").get("status", {})
        return meta.condition({"status": status}, "ReplicaFailure")

    async with controllers(world):
        await until(failure, "ReplicaFailure")
        assert failure()["reason"] == "FailedCreate"
        world.refuse = lambda method, obj: None
        await until(lambda: len(pods_of(world)) == 3)
        await until(lambda: failure() is None)
    assert any(event["reason"] == "FailedCreate" for event in world.events)
    assert found["metadata"]["uid"] == world.events[0]["involvedObject"]["uid"]


async def test_scaling_down_ends_at_the_wanted_number() -> None:
    world = World()
    found = world.put(replicaset(replicas=5))
    async with controllers(world):
        await run_all(world)
        world.edit(found, lambda new: new["spec"].update(replicas=2))
        await run_all(world)
    assert len(pods_of(world)) == 2


async def test_a_daemonset_follows_the_nodes_and_its_template() -> None:
    world = World()
    for name in ("node-1", "node-2"):
        world.put(node(name))
    found = world.put(daemonset())
    leases = Leases({name: Lease(True) for name in ("node-1", "node-2", "node-3")})
    async with controllers(world, leases):
        await run_all(world)
        world.put(node("node-3"))
        await run_all(world)
        assert len(pods_of(world)) == 3
        world.edit(found, lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image="agent:2"))
        await run_all(world)
    assert len(pods_of(world, "agent:2")) == 3
    assert pods_of(world, "agent:1") == []
    status = world.get("apps", "daemonsets", "shop", "agent")["status"]
    assert (status["desiredNumberScheduled"], status["updatedNumberScheduled"], status["numberAvailable"]) == (3, 3, 3)
    assert [one["revision"] for one in world.every("apps", "controllerrevisions")] == [1, 2] or sorted(
        one["revision"] for one in world.every("apps", "controllerrevisions")
    ) == [1, 2]


async def test_a_job_counts_every_pod_once_and_completes() -> None:
    world = World()
    world.put(job(completions=4, parallelism=2))
    async with controllers(world):
        for _ in range(2):
            await settled(world)
            for pod in pods_of(world):
                if not meta.pod_finished(pod):
                    world.run(pod)
                    world.finish(world.stored[("", "pods", *meta.key(pod))], "Succeeded")
        await settled(world)
    status = world.get("batch", "jobs", "shop", "sum")["status"]
    assert status["succeeded"] == 4
    assert status.get("active", 0) == 0
    assert meta.condition({"status": status}, "Complete")["reason"] == "CompletionsReached"
    assert status["uncountedTerminatedPods"] == {}
    assert not any(pod["metadata"].get("finalizers") for pod in world.every("", "pods"))


@pytest.mark.parametrize("writes", range(1, 12, 2))
async def test_a_job_counts_once_whatever_crashes(writes: int) -> None:
    world = World()
    world.put(job(completions=3, parallelism=3))
    async with controllers(world):
        await settled(world)
    for pod in pods_of(world):
        world.run(pod)
        world.finish(world.stored[("", "pods", *meta.key(pod))], "Succeeded")
    world.writes_left = writes
    async with controllers(world):
        await settled(world)
    world.writes_left = None
    async with controllers(world):
        await settled(world)
    status = world.get("batch", "jobs", "shop", "sum")["status"]
    assert status["succeeded"] == 3
    assert len(world.every("", "pods")) == 3
    assert meta.condition({"status": status}, "Complete") is not None


@pytest.mark.parametrize("writes", range(0, 8, 2))
async def test_an_index_has_as_many_attempts_as_it_may_whatever_crashes(writes: int) -> None:
    world = World()
    world.put(job(completionMode="Indexed", completions=2, parallelism=2, backoffLimit=100, backoffLimitPerIndex=2))
    attempts = 0
    for round_ in range(5):
        world.writes_left = writes if round_ else None
        async with controllers(world):
            await settled(world)
        world.writes_left = None
        async with controllers(world):
            await settled(world)
        for pod in pods_of(world):
            if meta.pod_finished(pod):
                continue
            hopeless = meta.annotations(pod)[indexes.ANNOTATION] == "1"
            attempts += hopeless
            world.run(pod)
            world.finish(world.get("", "pods", *meta.key(pod)), "Failed" if hopeless else "Succeeded", int(hopeless))
        world.now += 60
    status = world.get("batch", "jobs", "shop", "sum")["status"]
    assert attempts == 3
    assert (status["completedIndexes"], status["failedIndexes"], status["failed"]) == ("0", "1", 3)
    assert meta.condition({"status": status}, "Failed")["reason"] == "FailedIndexes"
    assert not any(pod["metadata"].get("finalizers") for pod in world.every("", "pods"))


async def test_the_success_of_the_leader_completes_a_job_and_ends_its_workers() -> None:
    world = World()
    policy = {"rules": [{"succeededIndexes": "0"}]}
    world.put(job(completionMode="Indexed", completions=3, parallelism=3, successPolicy=policy))
    async with controllers(world):
        await settled(world)
        for pod in pods_of(world):
            world.run(pod)
            if meta.annotations(pod)[indexes.ANNOTATION] == "0":
                world.finish(world.get("", "pods", *meta.key(pod)), "Succeeded")
        await settled(world)
        assert meta.condition(world.get("batch", "jobs", "shop", "sum"), "Complete") is None
        world.confirm()
        await settled(world)
    found = world.get("batch", "jobs", "shop", "sum")
    assert meta.condition(found, "Complete")["reason"] == "SuccessPolicy"
    assert found["status"]["completedIndexes"] == "0"
    assert len(world.every("", "pods")) == 1


async def test_deleting_a_deployment_takes_everything_below_with_it() -> None:
    world = World()
    found = world.put(deployment())
    async with controllers(world):
        await run_all(world)
        world.remove(found, propagationPolicy="Background")
        await settled(world)
        world.confirm()
        await settled(world)
    assert world.every("apps", "replicasets") == []
    assert world.every("", "pods") == []


async def test_foreground_deletion_removes_the_owner_last() -> None:
    world = World()
    found = world.put(deployment())
    async with controllers(world):
        await run_all(world)
        world.remove(found, propagationPolicy="Foreground")
        await settled(world)
        assert world.get("apps", "deployments", "shop", "web") is not None
        world.confirm()
        await settled(world)
    assert world.get("apps", "deployments", "shop", "web") is None
    assert world.every("", "pods") == []


async def test_orphaned_pods_are_adopted_by_the_next_replicaset() -> None:
    world = World()
    found = world.put(replicaset())
    async with controllers(world):
        await run_all(world)
        world.remove(found, propagationPolicy="Orphan")
        await settled(world)
        assert len(pods_of(world)) == 3
        assert all(meta.controller_of(pod) is None for pod in pods_of(world))
        again = world.put(replicaset("web-2"))
        await settled(world)
    assert len(pods_of(world)) == 3
    assert all(meta.is_controlled_by(pod, again) for pod in pods_of(world))


async def test_a_namespace_goes_when_its_contents_have_gone() -> None:
    world = World()
    found = world.put(namespace())
    world.put(deployment())
    world.put(service())
    async with controllers(world):
        await run_all(world)
        assert world.get("", "configmaps", "shop", "kube-root-ca.crt")["data"] == {"ca.crt": "certificate"}
        assert world.get("", "serviceaccounts", "shop", "default") is not None
        world.remove(found)
        await settled(world)
        assert world.get("", "namespaces", "", "shop")["status"]["phase"] == "Terminating"
        world.confirm()
        await settled(world)
    assert [ref for ref in world.stored if ref.namespace == "shop"] == []
    assert world.get("", "namespaces", "", "shop") is None


async def test_a_service_shows_ready_pods_in_slices_and_endpoints() -> None:
    world = World()
    world.put(service())
    world.put(deployment(replicas=2))
    async with controllers(world):
        await run_all(world)
    (only,) = world.every("discovery.k8s.io", "endpointslices")
    assert len(only["endpoints"]) == 2
    assert all(one["conditions"] == {"ready": True, "serving": True, "terminating": False} for one in only["endpoints"])
    assert only["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    (endpoints,) = world.every("", "endpoints")
    assert len(endpoints["subsets"][0]["addresses"]) == 2


async def test_a_silent_node_loses_its_pods_to_others() -> None:
    world = World()
    for name in ("node-1", "node-2"):
        world.put(node(name))
    leases = Leases({"node-1": Lease(True), "node-2": Lease(True)})
    world.put(replicaset(replicas=1))
    async with controllers(world, leases) as manager:
        await run_all(world)
        (victim,) = pods_of(world)
        leases.nodes["node-1"] = Lease(False)
        manager.lease_changed("node-1")
        await until(lambda: meta.is_deleting(world.stored.get(("", "pods", *meta.key(victim)), {"metadata": {}})))
        silent = world.get("", "nodes", "", "node-1")
        assert meta.condition(silent, "Ready")["status"] == "Unknown"
        assert {(one["key"], one["effect"]) for one in silent["spec"]["taints"]} == {
            ("node.kubernetes.io/unreachable", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        }
        await until(lambda: len(pods_of(world)) == 1, "a replacement")
        world.now += 60
        manager.lease_changed("node-1")
        await until(lambda: ("", "pods", *meta.key(victim)) not in world.stored, "removal without confirmation")
        await until(lambda: any(event["reason"] == "NodeGone" for event in world.events), "the event")


async def test_nobody_is_evicted_when_all_nodes_fall_silent() -> None:
    world = World()
    for name in ("node-1", "node-2"):
        world.put(node(name))
    leases = Leases({"node-1": Lease(True), "node-2": Lease(True)})
    world.put(replicaset(replicas=2))
    async with controllers(world, leases) as manager:
        await run_all(world)
        for name in leases.nodes:
            leases.nodes[name] = Lease(False)
        for name in leases.nodes:
            manager.lease_changed(name)
        await settled(world)
    assert len(pods_of(world)) == 2
    assert not any(
        taint["effect"] == "NoExecute" for one in world.every("", "nodes") for taint in one["spec"].get("taints", [])
    )
