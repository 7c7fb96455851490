"""StatefulSets with real loops against an API in memory: order, identity, claims, updates and crashes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects import meta
from tests.unit.services.controllers.cluster import controllers, settled
from tests.unit.services.controllers.objects import pod, statefulset
from tests.unit.services.controllers.world import World

Object = dict[str, Any]


def image_of(one: Object) -> str:
    return str(one["spec"]["containers"][0]["image"])


def names(world: World) -> list[str]:
    return [one["metadata"]["name"] for one in world.every("", "pods") if not meta.is_deleting(one)]


def claims(world: World) -> list[str]:
    return [one["metadata"]["name"] for one in world.every("", "persistentvolumeclaims")]


def found(world: World, name: str = "db") -> Object:
    return world.stored["apps", "statefulsets", "shop", name]


def set_image(world: World, image: str) -> None:
    world.edit(found(world), lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image=image))


def set_spec(world: World, **spec: Any) -> None:
    world.edit(found(world), lambda new: new["spec"].update(spec))


async def run_all(world: World, broken: str = "") -> list[list[str]]:
    """Let pods run until nothing changes; pods of image `broken` never become ready. Returns who was up each round."""
    history = []
    for _ in range(80):
        await settled(world)
        history.append(names(world))
        pods = world.every("", "pods")
        waiting = [
            one for one in pods if not meta.is_deleting(one) and not meta.pod_ready(one) and image_of(one) != broken
        ]
        if not waiting and not any(meta.is_deleting(one) for one in pods):
            return history
        world.confirm()
        for one in waiting:
            world.run(one)
    pytest.fail("the pods never come to rest")


async def test_pods_come_up_one_after_the_other_with_their_identity() -> None:
    world = World()
    world.put(statefulset())
    async with controllers(world):
        history = await run_all(world)
    assert history == [["db-0"], ["db-0", "db-1"], ["db-0", "db-1", "db-2"], ["db-0", "db-1", "db-2"]]
    (revision,) = world.every("apps", "controllerrevisions")
    second = world.every("", "pods")[1]
    assert second["spec"]["hostname"] == "db-1"
    assert second["spec"]["subdomain"] == "peers"
    assert second["metadata"]["labels"] == {
        "app": "web",
        "statefulset.kubernetes.io/pod-name": "db-1",
        "apps.kubernetes.io/pod-index": "1",
        "controller-revision-hash": revision["metadata"]["name"],
    }
    status = found(world)["status"]
    assert status["currentRevision"] == status["updateRevision"] == revision["metadata"]["name"]
    counts = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    assert [status[name] for name in counts] == [3] * 5


async def test_parallel_pods_come_up_at_once_and_ordinals_may_start_anywhere() -> None:
    world = World()
    world.put(statefulset(podManagementPolicy="Parallel", ordinals={"start": 5}))
    async with controllers(world):
        await settled(world)
        assert names(world) == ["db-5", "db-6", "db-7"]


async def test_scaling_down_goes_from_the_top_one_at_a_time_and_keeps_the_claims() -> None:
    world = World()
    world.put(statefulset(claims=("data",)))
    async with controllers(world):
        await run_all(world)
        set_spec(world, replicas=1)
        history = await run_all(world)
    assert history == [["db-0", "db-1"], ["db-0"], ["db-0"]]
    assert claims(world) == ["data-db-0", "data-db-1", "data-db-2"]


async def test_a_claim_exists_before_its_pod_and_is_found_again() -> None:
    world = World()
    world.put(statefulset(replicas=1, claims=("data", "log")))
    async with controllers(world):
        await run_all(world)
        order = [ref.name for ref in world.created if ref.resource != "controllerrevisions"]
        assert sorted(order[:2]) == ["data-db-0", "log-db-0"]
        assert order[2] == "db-0"
        before = world.every("", "persistentvolumeclaims")
        world.remove(world.every("", "pods")[0])
        await run_all(world)
    assert world.every("", "persistentvolumeclaims") == before
    (again,) = world.every("", "pods")
    volumes = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in again["spec"]["volumes"]}
    assert volumes == {"data": "data-db-0", "log": "log-db-0"}
    assert before[0]["metadata"]["labels"] == {"app": "web"}


async def test_claims_that_are_to_go_with_scaling_go_after_their_pod_and_come_back_new() -> None:
    world = World()
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    world.put(statefulset(replicas=2, claims=("data",), persistentVolumeClaimRetentionPolicy=policy))
    async with controllers(world):
        await run_all(world)
        former = world.every("", "persistentvolumeclaims")[1]["metadata"]["uid"]
        set_spec(world, replicas=1)
        await run_all(world)
        assert claims(world) == ["data-db-0"]
        set_spec(world, replicas=2)
        await run_all(world)
    assert names(world) == ["db-0", "db-1"]
    assert world.every("", "persistentvolumeclaims")[1]["metadata"]["uid"] != former


async def test_claims_that_are_to_go_with_the_statefulset_belong_to_it() -> None:
    world = World()
    policy = {"whenScaled": "Retain", "whenDeleted": "Delete"}
    world.put(statefulset(replicas=1, claims=("data",)))
    async with controllers(world):
        await run_all(world)
        assert not world.every("", "persistentvolumeclaims")[0]["metadata"].get("ownerReferences")
        set_spec(world, persistentVolumeClaimRetentionPolicy=policy)
        await settled(world)
        assert meta.is_controlled_by(world.every("", "persistentvolumeclaims")[0], found(world))
        world.remove(found(world), propagationPolicy="Background")
        await settled(world)
        world.confirm()
        await settled(world)
    assert names(world) == claims(world) == []


async def test_a_rolling_update_replaces_pods_from_the_top_and_becomes_the_current_revision() -> None:
    world = World()
    world.put(statefulset())
    async with controllers(world):
        await run_all(world)
        set_image(world, "db:2")
        history = await run_all(world)
    assert [sorted({"db-0", "db-1", "db-2"} - set(up)) for up in history[::2]][:3] == [["db-2"], ["db-1"], ["db-0"]]
    assert {image_of(one) for one in world.every("", "pods")} == {"db:2"}
    status = found(world)["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert (status["currentReplicas"], status["updatedReplicas"]) == (3, 3)
    assert sorted(one["revision"] for one in world.every("apps", "controllerrevisions")) == [1, 2]


async def test_a_partition_holds_lower_ordinals_at_the_current_revision_even_when_they_are_replaced() -> None:
    world = World()
    world.put(statefulset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}))
    async with controllers(world):
        await run_all(world)
        set_image(world, "db:2")
        await run_all(world)
        world.remove(world.stored["", "pods", "shop", "db-0"])
        await run_all(world)
    assert [image_of(one) for one in world.every("", "pods")] == ["db:1", "db:1", "db:2"]
    status = found(world)["status"]
    assert status["currentRevision"] != status["updateRevision"]
    assert (status["currentReplicas"], status["updatedReplicas"]) == (2, 1)


async def test_on_delete_updates_only_what_is_deleted() -> None:
    world = World()
    world.put(statefulset(updateStrategy={"type": "OnDelete"}))
    async with controllers(world):
        await run_all(world)
        set_image(world, "db:2")
        await run_all(world)
        assert {image_of(one) for one in world.every("", "pods")} == {"db:1"}
        world.remove(world.stored["", "pods", "shop", "db-1"])
        await run_all(world)
    assert [image_of(one) for one in world.every("", "pods")] == ["db:1", "db:2", "db:1"]


async def test_an_undo_brings_the_old_revision_to_the_top_of_the_history() -> None:
    world = World()
    world.put(statefulset())
    async with controllers(world):
        await run_all(world)
        for image in ("db:2", "db:1"):
            set_image(world, image)
            await run_all(world)
    assert {image_of(one) for one in world.every("", "pods")} == {"db:1"}
    assert sorted(one["revision"] for one in world.every("apps", "controllerrevisions")) == [2, 3]
    assert found(world)["status"]["currentRevision"] == found(world)["status"]["updateRevision"]


async def test_revisions_beyond_the_history_limit_go() -> None:
    world = World()
    world.put(statefulset(replicas=1, revisionHistoryLimit=1))
    async with controllers(world):
        for image in ("db:1", "db:2", "db:3", "db:4"):
            set_image(world, image)
            await run_all(world)
    assert sorted(one["revision"] for one in world.every("apps", "controllerrevisions")) == [3, 4]


async def test_a_parallel_statefulset_leaves_a_broken_revision() -> None:
    world = World()
    world.put(statefulset(podManagementPolicy="Parallel"))
    async with controllers(world):
        await run_all(world)
        set_image(world, "broken:1")
        await run_all(world, broken="broken:1")
        assert [image_of(one) for one in world.every("", "pods")] == ["db:1", "db:1", "broken:1"]
        set_image(world, "db:3")
        await run_all(world, broken="broken:1")
    assert {image_of(one) for one in world.every("", "pods")} == {"db:3"}


async def test_a_budget_of_two_takes_two_pods_at_once() -> None:
    world = World()
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    world.put(statefulset(replicas=4, updateStrategy=rolling, podManagementPolicy="Parallel"))
    async with controllers(world):
        await run_all(world)
        set_image(world, "db:2")
        history = await run_all(world)
    assert history[0] == ["db-0", "db-1"]
    assert min(len(up) for up in history) == 2
    assert {image_of(one) for one in world.every("", "pods")} == {"db:2"}


async def test_a_failed_pod_is_replaced_by_one_of_the_same_name() -> None:
    world = World()
    world.put(statefulset(replicas=1))
    async with controllers(world):
        await run_all(world)
        before = world.every("", "pods")[0]
        world.now += 11
        world.finish(before, "Failed", 1)
        await run_all(world)
    (after,) = world.every("", "pods")
    assert after["metadata"]["name"] == "db-0"
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def test_a_name_that_somebody_elses_pod_has_is_waited_for() -> None:
    world = World()
    other = world.put(pod("db-0", labels={"app": "other"}))
    world.put(statefulset(replicas=1))
    async with controllers(world):
        await settled(world)
        assert names(world) == ["db-0"]
        assert not meta.controller_of(world.every("", "pods")[0])
        world.remove(other)
        await settled(world)
        assert meta.is_controlled_by(world.every("", "pods")[0], found(world))


async def test_orphaned_pods_are_adopted_with_their_revisions() -> None:
    world = World()
    world.put(statefulset())
    async with controllers(world):
        await run_all(world)
        before = {one["metadata"]["uid"] for one in world.every("", "pods")}
        world.remove(found(world), propagationPolicy="Orphan")
        await settled(world)
        world.put(statefulset())
        await run_all(world)
    assert {one["metadata"]["uid"] for one in world.every("", "pods")} == before
    assert all(meta.is_controlled_by(one, found(world)) for one in world.every("", "pods"))
    assert len(world.every("apps", "controllerrevisions")) == 1


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
@pytest.mark.parametrize("writes", range(12))
async def test_a_crash_after_any_write_of_a_creation_converges(writes: int, policy: str) -> None:
    world = World()
    world.put(statefulset(replicas=2, claims=("data",), podManagementPolicy=policy))
    world.lag = 0.003
    world.writes_left = writes
    async with controllers(world):
        for _ in range(4):
            await settled(world, 0.03)
            for one in world.every("", "pods"):
                if not meta.pod_ready(one):
                    world.run(one)
    world.writes_left = None
    async with controllers(world):
        await run_all(world)
    assert names(world) == ["db-0", "db-1"]
    assert len([ref for ref in world.created if ref.resource == "pods"]) == 2
    assert claims(world) == ["data-db-0", "data-db-1"]


@pytest.mark.parametrize("writes", range(10))
async def test_a_crash_after_any_write_of_an_update_with_scaling_converges(writes: int) -> None:
    world = World()
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    world.put(statefulset(claims=("data",), persistentVolumeClaimRetentionPolicy=policy))
    async with controllers(world):
        await run_all(world)
    set_spec(world, replicas=2)
    set_image(world, "db:2")
    world.writes_left = writes
    async with controllers(world):
        for _ in range(5):
            await settled(world, 0.03)
            world.confirm()
            for one in world.every("", "pods"):
                if not meta.pod_ready(one):
                    world.run(one)
    world.writes_left = None
    async with controllers(world):
        await run_all(world)
    assert names(world) == ["db-0", "db-1"]
    assert {image_of(one) for one in world.every("", "pods")} == {"db:2"}
    assert claims(world) == ["data-db-0", "data-db-1"]
