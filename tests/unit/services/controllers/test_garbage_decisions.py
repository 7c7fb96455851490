"""Garbage collection: what an object's owners, or their absence, mean for it."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers import garbage
from services.controllers.actions import Delete, Patch, Together
from shared.events.subjects import Ref
from shared.objects import meta
from tests.unit.services.controllers.objects import pod, replicaset
from tests.unit.services.controllers.world import World

Object = dict[str, Any]
POD = Ref("", "pods", "shop", "web")


@pytest.fixture
async def world() -> World:
    return World()


def owned(*owners: Object, block: bool = True, **metadata: Any) -> Object:
    references = [{**meta.owner_reference(owner, controller=False), "blockOwnerDeletion": block} for owner in owners]
    return pod("web", ownerReferences=references, **metadata)


def absent(kind: str = "ReplicaSet", api_version: str = "apps/v1") -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "gone", "uid": "gone"}}


def decide(world: World, ref: Ref = POD) -> list[Any]:
    return garbage.decide(ref, world.stored[ref], world.view)


async def test_an_object_whose_owner_is_gone_goes(world: World) -> None:
    stored = world.put(owned(absent()))
    (delete,) = decide(world)
    assert isinstance(delete, Delete)
    assert (delete.uid, delete.propagation) == (meta.uid(stored), "Background")
    assert delete.resource_version == stored["metadata"]["resourceVersion"]


async def test_an_owner_of_the_same_name_is_not_the_owner(world: World) -> None:
    world.put(replicaset("gone"))
    world.put(owned(absent()))
    assert isinstance(decide(world)[0], Delete)


async def test_one_living_owner_keeps_it_and_the_dead_ones_are_struck_off(world: World) -> None:
    living = world.put(replicaset())
    world.put(owned(living, absent()))
    (patch,) = decide(world)
    assert isinstance(patch, Patch)
    assert [one["uid"] for one in patch.body["metadata"]["ownerReferences"]] == [meta.uid(living)]


async def test_owners_of_unknown_kinds_are_never_a_reason(world: World) -> None:
    world.put(owned(absent("Carrot", "garden.example/v1")))
    assert decide(world) == []


async def test_another_version_of_the_owners_group_will_do(world: World) -> None:
    living = world.put(replicaset())
    world.put(owned({**living, "apiVersion": "apps/v1beta9"}))
    assert decide(world) == []


async def test_a_finalizer_for_orphans_is_respected(world: World) -> None:
    world.put(owned(absent(), finalizers=["orphan"]))
    assert decide(world)[0].propagation == "Orphan"


async def test_a_foreground_owner_waits_for_blocking_dependents(world: World) -> None:
    owner = world.put(replicaset())
    world.put(owned(owner))
    world.remove(owner, propagationPolicy="Foreground")
    (together,) = decide(world, Ref("apps", "replicasets", "shop", "web"))
    assert isinstance(together, Together)
    assert [action.ref for action in together.actions] == [POD]


async def test_a_foreground_owner_does_not_wait_for_others(world: World) -> None:
    owner = world.put(replicaset())
    world.put(owned(owner, block=False))
    world.remove(owner, propagationPolicy="Foreground")
    (patch,) = decide(world, Ref("apps", "replicasets", "shop", "web"))
    assert patch.body["metadata"]["finalizers"] is None


async def test_orphaning_strikes_the_owner_off_before_it_goes(world: World) -> None:
    owner = world.put(replicaset())
    world.put(owned(owner))
    world.remove(owner, propagationPolicy="Orphan")
    together, finalizer = decide(world, Ref("apps", "replicasets", "shop", "web"))
    assert together.actions[0].body["metadata"]["ownerReferences"] is None
    assert finalizer.body["metadata"]["finalizers"] is None


async def test_a_cycle_of_waiting_objects_is_broken(world: World) -> None:
    owner = world.put(replicaset())
    dependent = world.put(owned(owner))
    reference = {**meta.owner_reference(dependent, controller=False), "blockOwnerDeletion": True}
    world.edit(owner, lambda new: new["metadata"].update(ownerReferences=[reference]))
    world.remove(owner, propagationPolicy="Foreground")
    (patch,) = decide(world)
    assert patch.body["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] is False


async def test_the_end_of_an_owner_wakes_its_dependents(world: World) -> None:
    owner = world.put(replicaset())
    world.put(owned(owner))
    found = garbage.Garbage().affected(Ref("apps", "replicasets", "shop", "web"), None, owner, world.view)
    assert POD in set(found)


async def test_the_end_of_a_dependent_wakes_a_waiting_owner(world: World) -> None:
    owner = world.put(replicaset())
    dependent = world.put(owned(owner))
    world.remove(owner, propagationPolicy="Foreground")
    assert set(garbage.Garbage().affected(POD, None, dependent, world.view)) == {
        Ref("apps", "replicasets", "shop", "web")
    }


async def test_a_heartbeat_wakes_nobody(world: World) -> None:
    owner = world.put(replicaset())
    dependent = world.put(owned(owner))
    assert set(garbage.Garbage().affected(POD, {**dependent, "status": {}}, dependent, world.view)) == set()
