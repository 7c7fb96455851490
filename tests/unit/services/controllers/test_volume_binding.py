"""Claims and volumes: which are tied together, what is made, what becomes of what is left."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects import meta
from shared.objects.volumebinding import DIRECTORY, LOCAL_PATH, PROVISIONED_BY, SELECTED_NODE
from tests.unit.services.controllers.cluster import controllers, settled
from tests.unit.services.controllers.objects import workload
from tests.unit.services.controllers.world import World

Object = dict[str, Any]


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Object:
    whole = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return workload("v1", "PersistentVolumeClaim", name, whole)


def volume(name: str, size: str = "1Gi", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    whole = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": f"/srv/{name}"},
        "persistentVolumeReclaimPolicy": "Retain",
        **spec,
    }
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": whole}


def storage_class(name: str, provisioner: str = LOCAL_PATH, default: bool = False, **fields: Any) -> Object:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": notes},
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        **fields,
    }


def node(name: str = "node-1") -> Object:
    labels = {"kubernetes.io/hostname": name}
    metadata = {"name": name, "labels": labels, "annotations": {DIRECTORY: f"/data/{name}"}}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}


def select(world: World, stored: Object, name: str = "node-1") -> None:
    world.edit(stored, lambda new: new["metadata"].setdefault("annotations", {}).update({SELECTED_NODE: name}))


def the_claim(world: World, name: str = "data") -> Object:
    found = world.get("", "persistentvolumeclaims", "shop", name)
    assert found is not None
    return found


def the_volume(world: World, name: str) -> Object:
    found = world.get("", "persistentvolumes", "", name)
    assert found is not None
    return found


def phases(world: World) -> dict[str, str]:
    found = [*world.every("", "persistentvolumes"), *world.every("", "persistentvolumeclaims")]
    return {meta.name(obj): (obj.get("status") or {}).get("phase", "") for obj in found}


def events(world: World) -> set[str]:
    return {event["reason"] for event in world.events}


async def test_a_claim_gets_the_smallest_volume_that_is_large_enough() -> None:
    world = World()
    for name, size in (("small", "500Mi"), ("large", "10Gi"), ("right", "2Gi")):
        world.put(volume(name, size))
    async with controllers(world):
        await settled(world)
        world.put(claim(storageClassName=""))
        await settled(world)
    assert phases(world) == {"small": "Available", "large": "Available", "right": "Bound", "data": "Bound"}
    bound = the_claim(world)
    assert bound["spec"]["volumeName"] == "right"
    assert bound["status"]["capacity"] == {"storage": "2Gi"}
    assert the_volume(world, "right")["spec"]["claimRef"]["uid"] == meta.uid(bound)


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ({"accessModes": ["ReadWriteMany"]}, {}),
        ({"storageClassName": "fast"}, {"storageClassName": "slow"}),
        ({"volumeMode": "Block"}, {}),
        ({"selector": {"matchLabels": {"disk": "ssd"}}}, {}),
        ({}, {"capacity": {"storage": "1Mi"}}),
        ({}, {"claimRef": {"namespace": "shop", "name": "other"}}),
    ],
)
async def test_a_volume_that_does_not_fit_stays_free(wanted: Object, offered: Object) -> None:
    world = World()
    world.put(volume("v", **offered))
    async with controllers(world):
        world.put(claim(**{"storageClassName": "", **wanted}))
        await settled(world)
    assert phases(world) == {"v": "Available", "data": "Pending"}


async def test_a_selector_chooses_by_the_labels_of_volumes() -> None:
    world = World()
    world.put(volume("plain"))
    world.put(volume("ssd", "5Gi", {"disk": "ssd"}))
    async with controllers(world):
        world.put(claim(storageClassName="", selector={"matchLabels": {"disk": "ssd"}}))
        await settled(world)
    assert the_claim(world)["spec"]["volumeName"] == "ssd"


async def test_a_reserved_volume_goes_to_its_claim_alone() -> None:
    world = World()
    world.put(volume("mine", "5Gi", claimRef={"namespace": "shop", "name": "data"}))
    async with controllers(world):
        world.put(claim("other", storageClassName=""))
        world.put(claim(storageClassName=""))
        await settled(world)
    assert phases(world) == {"mine": "Bound", "other": "Pending", "data": "Bound"}
    assert "FailedBinding" in events(world)


async def test_a_claim_that_names_its_volume_waits_for_it() -> None:
    world = World()
    async with controllers(world):
        world.put(claim(storageClassName="", volumeName="later"))
        await settled(world)
        assert phases(world) == {"data": "Pending"}
        world.put(volume("later"))
        await settled(world)
    assert phases(world) == {"data": "Bound", "later": "Bound"}


async def test_a_claim_without_a_class_gets_the_default_one_and_waits_for_a_pod() -> None:
    world = World()
    world.put(storage_class("other"))
    world.put(storage_class("standard", default=True))
    world.put(node())
    async with controllers(world):
        world.put(claim())
        await settled(world)
    assert the_claim(world)["spec"]["storageClassName"] == "standard"
    assert phases(world) == {"data": "Pending"}
    assert "WaitForFirstConsumer" in events(world)


async def test_a_directory_is_made_on_the_node_that_was_selected() -> None:
    world = World()
    world.put(storage_class("local-path", mountOptions=["noexec"]))
    world.put(node())
    async with controllers(world):
        stored = world.put(claim(storageClassName="local-path"))
        await settled(world)
        select(world, stored)
        await settled(world)
    name = f"pvc-{meta.uid(stored)}"
    made = the_volume(world, name)
    assert phases(world) == {"data": "Bound", name: "Bound"}
    assert made["spec"]["local"]["path"] == f"/data/node-1/{name}_shop_data"
    assert made["spec"]["mountOptions"] == ["noexec"]
    term = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    assert term == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]
    assert {"ProvisioningSucceeded"} <= events(world)


async def test_a_claim_that_needs_no_pod_is_served_as_soon_as_a_node_is_ready() -> None:
    world = World()
    world.put(storage_class("local-path", volumeBindingMode="Immediate"))
    stored = world.put({**node(), "status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    async with controllers(world):
        made = world.put(claim(storageClassName="local-path"))
        await settled(world)
        assert phases(world) == {"data": "Pending"}
        world.edit(stored, lambda new: new["status"].update(conditions=node()["status"]["conditions"]))
        await settled(world)
    assert phases(world) == {"data": "Bound", f"pvc-{meta.uid(made)}": "Bound"}


async def test_the_choice_of_a_node_that_is_gone_is_taken_back() -> None:
    world = World()
    world.put(storage_class("local-path"))
    async with controllers(world):
        stored = world.put(claim(storageClassName="local-path"))
        select(world, stored, "vanished")
        await settled(world)
    assert SELECTED_NODE not in meta.annotations(the_claim(world))
    assert "ProvisioningFailed" in events(world)


async def test_what_a_directory_cannot_be_is_refused_by_name() -> None:
    world = World()
    world.put(storage_class("local-path"))
    world.put(node())
    async with controllers(world):
        stored = world.put(claim(storageClassName="local-path", accessModes=["ReadWriteMany"]))
        select(world, stored)
        await settled(world)
    assert phases(world) == {"data": "Pending"}
    assert any("ReadWriteMany" in event["message"] for event in world.events)


async def test_the_volume_of_a_deleted_claim_is_kept_or_deleted_as_its_policy_says() -> None:
    world = World()
    world.put(storage_class("local-path"))
    world.put(node())
    world.put(volume("kept"))
    async with controllers(world):
        await settled(world)
        static = world.put(claim("static", storageClassName=""))
        dynamic = world.put(claim(storageClassName="local-path"))
        select(world, dynamic)
        await settled(world)
        world.remove(the_claim(world, "static"))
        world.remove(the_claim(world))
        await settled(world)
    name = f"pvc-{meta.uid(dynamic)}"
    assert phases(world) == {"kept": "Released", name: "Released"}
    # its node removes the directory first
    assert meta.is_deleting(the_volume(world, name))
    assert not meta.is_deleting(the_volume(world, "kept"))
    assert static["metadata"]["name"] == "static"


async def test_a_static_volume_that_should_be_deleted_fails_because_nobody_can() -> None:
    world = World()
    world.put(volume("v", persistentVolumeReclaimPolicy="Delete"))
    async with controllers(world):
        await settled(world)
        world.put(claim(storageClassName=""))
        await settled(world)
        world.remove(the_claim(world))
        await settled(world)
    assert phases(world) == {"v": "Failed"}
    assert "VolumeFailedDelete" in events(world)


async def test_a_released_volume_is_free_again_once_its_claim_reference_is_removed() -> None:
    world = World()
    stored = world.put(volume("v"))
    async with controllers(world):
        await settled(world)
        world.put(claim(storageClassName=""))
        await settled(world)
        world.remove(the_claim(world))
        await settled(world)
        world.edit(stored, lambda new: new["spec"].pop("claimRef"))
        await settled(world)
    assert phases(world) == {"v": "Available"}


async def test_a_claim_whose_volume_is_removed_is_lost() -> None:
    world = World()
    world.put(volume("v"))
    async with controllers(world):
        await settled(world)
        world.put(claim(storageClassName=""))
        await settled(world)
        world.remove(the_volume(world, "v"))
        await settled(world)
        assert phases(world)["data"] == "Bound"  # the volume is protected while it is bound
        world.edit(the_volume(world, "v"), lambda new: new["metadata"].pop("finalizers"))
        world.remove(the_volume(world, "v"))
        await settled(world)
    assert phases(world) == {"data": "Lost"}
    assert "ClaimLost" in events(world)


@pytest.mark.parametrize(("expandable", "size"), [(True, "5Gi"), (False, "1Gi")])
async def test_a_directory_grows_when_its_class_allows_it(expandable: bool, size: str) -> None:
    world = World()
    world.put(storage_class("local-path", allowVolumeExpansion=expandable))
    world.put(node())
    async with controllers(world):
        stored = world.put(claim(storageClassName="local-path"))
        select(world, stored)
        await settled(world)
        world.edit(stored, lambda new: new["spec"]["resources"]["requests"].update(storage="5Gi"))
        await settled(world)
    assert the_claim(world)["status"]["capacity"] == {"storage": size}
    assert the_volume(world, f"pvc-{meta.uid(stored)}")["spec"]["capacity"] == {"storage": size}


async def test_an_external_provisioner_is_named_and_waited_for() -> None:
    world = World()
    world.put(storage_class("cloud", "example.com/disk", volumeBindingMode="Immediate"))
    async with controllers(world):
        stored = world.put(claim(storageClassName="cloud"))
        await settled(world)
        assert meta.annotations(the_claim(world))["volume.kubernetes.io/storage-provisioner"] == "example.com/disk"
        reference = {"namespace": "shop", "name": "data", "uid": meta.uid(stored)}
        made = volume("theirs", storageClassName="cloud", claimRef=reference, persistentVolumeReclaimPolicy="Delete")
        made["metadata"]["annotations"] = {PROVISIONED_BY: "example.com/disk"}
        world.put(made)
        await settled(world)
        assert phases(world) == {"data": "Bound", "theirs": "Bound"}
        world.remove(the_claim(world))
        await settled(world)
    assert phases(world) == {"theirs": "Released"}
    assert not meta.is_deleting(the_volume(world, "theirs"))


@pytest.mark.parametrize("allowed", range(9))
async def test_binding_is_completed_after_a_crash_between_any_two_writes(allowed: int) -> None:
    world = World()
    world.put(storage_class("local-path"))
    world.put(node())
    stored = world.put(claim(storageClassName="local-path"))
    select(world, stored)
    world.writes_left = allowed
    async with controllers(world):
        await settled(world)
    world.writes_left = None
    async with controllers(world):
        await settled(world)
    assert phases(world) == {"data": "Bound", f"pvc-{meta.uid(stored)}": "Bound"}


async def test_an_ephemeral_volume_has_a_claim_that_belongs_to_its_pod() -> None:
    world = World()
    template = {"metadata": {"labels": {"kind": "scratch"}}, "spec": claim()["spec"]}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    body = {"containers": [{"name": "main", "image": "x"}], "volumes": volumes}
    async with controllers(world):
        pod = world.put(workload("v1", "Pod", "job", body))
        await settled(world)
    made = the_claim(world, "job-scratch")
    assert meta.is_controlled_by(made, pod)
    assert meta.labels(made) == {"kind": "scratch"}


async def test_a_foreign_claim_is_not_taken_for_an_ephemeral_volume() -> None:
    world = World()
    world.put(claim("job-scratch", storageClassName=""))
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim()["spec"]}}}]
    body = {"containers": [{"name": "main", "image": "x"}], "volumes": volumes}
    async with controllers(world):
        world.put(workload("v1", "Pod", "job", body))
        await settled(world)
    assert meta.controller_of(the_claim(world, "job-scratch")) is None
    assert any("pod is not owner" in event["message"] for event in world.events)
