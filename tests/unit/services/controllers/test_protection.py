"""Claims, volumes and attributes classes stay while something uses them."""

from __future__ import annotations

from typing import Any

from tests.unit.services.controllers.cluster import controllers, settled
from tests.unit.services.controllers.objects import pod
from tests.unit.services.controllers.world import World

Object = dict[str, Any]


def claim(name: str = "data", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "shop", "finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": spec,
    }


def user(name: str, volume: Object, node: str = "node-1") -> Object:
    made = pod(name)
    containers = [{"name": "a", "image": "a"}]
    made["spec"] = {"nodeName": node, "containers": containers, "volumes": [{"name": "v", **volume}]}
    return made


async def test_a_claim_stays_until_the_last_pod_on_a_node_has_gone() -> None:
    world = World()
    data = world.put(claim())
    reader = world.put(user("reader", {"persistentVolumeClaim": {"claimName": "data"}}))
    world.put(user("waiting", {"persistentVolumeClaim": {"claimName": "data"}}, node=""))
    async with controllers(world):
        world.remove(data)
        await settled(world)
        assert world.get("", "persistentvolumeclaims", "shop", "data") is not None
        world.remove(reader, gracePeriodSeconds=0)
        await settled(world)
        assert world.get("", "persistentvolumeclaims", "shop", "data") is None


async def test_a_claim_made_for_a_pod_is_used_by_it() -> None:
    world = World()
    own = world.put(claim("db-v"))
    world.put(user("db", {"ephemeral": {"volumeClaimTemplate": {}}}))
    async with controllers(world):
        world.remove(own)
        await settled(world)
        assert world.get("", "persistentvolumeclaims", "shop", "db-v") is not None


async def test_who_lacks_the_protection_gets_it() -> None:
    world = World()
    bare = claim()
    del bare["metadata"]["finalizers"]
    world.put(bare)
    async with controllers(world):
        await settled(world)
        found = world.get("", "persistentvolumeclaims", "shop", "data")
        assert found is not None
        assert found["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]


async def test_a_volume_stays_while_it_is_bound() -> None:
    world = World()
    metadata = {"name": "disk", "finalizers": ["kubernetes.io/pv-protection"]}
    body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": {}}
    disk = world.put(body, phase="Bound")
    async with controllers(world):
        world.remove(disk)
        await settled(world)
        held = world.get("", "persistentvolumes", "", "disk")
        assert held is not None
        world.edit(held, lambda one: one["status"].update(phase="Released"))
        await settled(world)
        assert world.get("", "persistentvolumes", "", "disk") is None


async def test_an_attributes_class_stays_while_a_claim_has_it() -> None:
    world = World()
    metadata = {"name": "fast", "finalizers": ["kubernetes.io/vac-protection"]}
    body = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": metadata, "driverName": "d"}
    fast = world.put(body)
    holder = world.put(claim(volumeAttributesClassName="fast"))
    async with controllers(world):
        world.remove(fast)
        await settled(world)
        assert world.get("storage.k8s.io", "volumeattributesclasses", "", "fast") is not None
        world.remove(holder)
        await settled(world)
        assert world.get("storage.k8s.io", "volumeattributesclasses", "", "fast") is None
