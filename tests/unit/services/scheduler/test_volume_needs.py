"""Where a pod may go because of its volumes, and what it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from services.scheduler.decide import Decision, decide
from services.scheduler.volumes import CONFLICT, IN_USE, NO_VOLUME, VolumeView
from shared.events.subjects import Ref
from shared.objects.volumebinding import BIND_COMPLETED, CLAIMS, CLASSES, LOCAL_PATH, SELECTED_NODE, VOLUMES
from tests.unit.services.scheduler.builders import node, pod, view

NODES = [node("n1"), node("n2")]


def claim(name: str = "data", **fields: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    spec |= {"storageClassName": "local-path", **fields.get("spec", {})}
    metadata = {"name": name, "namespace": "default", "uid": name, "annotations": fields.get("annotations", {})}
    return {"metadata": metadata | fields.get("metadata", {}), "spec": spec, "status": fields.get("status", {})}


def bound(name: str = "data", volume: str = "v1", **fields: Any) -> dict[str, Any]:
    spec = {"volumeName": volume, **fields.pop("spec", {})}
    return claim(name, spec=spec, annotations={BIND_COMPLETED: "yes"}, status={"phase": "Bound"}, **fields)


def volume(name: str = "v1", host: str = "n2", **spec: Any) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]
    whole = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        **spec,
    }
    return {"metadata": {"name": name, "uid": name}, "spec": whole, "status": {"phase": "Available"}}


def storage(*objects: dict[str, Any], provisioner: str = LOCAL_PATH, mode: str = "WaitForFirstConsumer") -> VolumeView:
    found = VolumeView()
    local = {"metadata": {"name": "local-path"}, "provisioner": provisioner, "volumeBindingMode": mode}
    found.take(Ref(*CLASSES, "", "local-path"), local)
    for obj in objects:
        kind = CLAIMS if "namespace" in obj["metadata"] else VOLUMES
        found.take(Ref(*kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), obj)
    return found


def user(name: str = "p", claim_name: str = "data", node_name: str = "") -> dict[str, Any]:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": claim_name}}]
    return pod(name, node_name, volumes=volumes)


def decide_one(known: VolumeView, wanted: dict[str, Any] | None = None) -> Decision:
    return decide(view(NODES).freeze(), [wanted or user()], volumes=known)[0]


def test_a_pod_follows_its_volume() -> None:
    decision = decide_one(storage(bound(), volume()))
    assert (decision.node, decision.claims) == ("n2", ())


def test_a_volume_of_another_node_is_named_as_the_reason() -> None:
    decision = decide_one(storage(bound(), volume(host="elsewhere")))
    assert decision.message.startswith(f"0/2 nodes are available: 2 {CONFLICT}.")


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (storage(), 'persistentvolumeclaim "data" not found'),
        (storage(claim(), mode="Immediate"), "pod has unbound immediate PersistentVolumeClaims"),
        (storage(claim(metadata={"deletionTimestamp": "x"})), 'persistentvolumeclaim "data" is being deleted'),
        (storage(bound()), 'persistentvolumeclaim "data" bound to non-existent persistentvolume'),
    ],
)
def test_a_claim_that_cannot_be_used_holds_the_pod_up(known: VolumeView, text: str) -> None:
    assert decide_one(known).message.startswith(f"0/2 nodes are available: {text}.")


def test_a_claim_that_waits_for_its_consumer_is_handed_the_node() -> None:
    decision = decide_one(storage(claim()))
    assert decision.node in ("n1", "n2")
    assert decision.claims == (("default", "data"),)


def test_a_second_pod_joins_the_node_that_was_selected_for_the_first() -> None:
    decision = decide_one(storage(claim(annotations={SELECTED_NODE: "n2"})))
    assert (decision.node, decision.claims) == ("n2", (("default", "data"),))


def test_claims_selected_for_different_nodes_fit_nowhere() -> None:
    known = storage(claim(annotations={SELECTED_NODE: "n1"}), claim("more", annotations={SELECTED_NODE: "n2"}))
    wanted = user()
    wanted["spec"]["volumes"].append({"name": "m", "persistentVolumeClaim": {"claimName": "more"}})
    assert decide_one(known, wanted).message.startswith(f"0/2 nodes are available: 2 {NO_VOLUME}.")


def test_without_a_provisioner_only_nodes_with_a_free_volume_count() -> None:
    free = volume(storageClassName="local-path")
    taken = volume("v2", "n1", storageClassName="local-path", claimRef={"namespace": "x", "name": "y"})
    known = storage(claim(), free, taken, provisioner="kubernetes.io/no-provisioner")
    assert decide_one(known).node == "n2"
    none = storage(claim(), taken, provisioner="kubernetes.io/no-provisioner")
    assert decide_one(none).message.startswith(f"0/2 nodes are available: 2 {NO_VOLUME}.")


def test_a_claim_for_one_pod_alone_refuses_a_second() -> None:
    known = storage(bound(spec={"accessModes": ["ReadWriteOncePod"]}), volume())
    first, second = decide(view(NODES).freeze(), [user("a"), user("b")], volumes=known)
    assert first.node == "n2"
    assert IN_USE in second.message
    known.take_pod(("default", "a"), user("a", node_name="n2"))
    assert decide_one(known, user("b")).message.startswith(f"0/2 nodes are available: 2 {IN_USE}.")
    known.take_pod(("default", "a"), None)
    assert decide_one(known, user("b")).node == "n2"


def test_an_ephemeral_volume_waits_for_its_claim_and_refuses_a_foreign_one() -> None:
    wanted = pod("p", volumes=[{"name": "d", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}])
    wanted["metadata"]["uid"] = "p"
    assert 'create the persistentvolumeclaim "p-d"' in decide_one(storage(), wanted).message
    assert "was not created for pod default/p" in decide_one(storage(claim("p-d")), wanted).message
    owned = claim("p-d", metadata={"ownerReferences": [{"uid": "p", "controller": True}]})
    assert decide_one(storage(owned), wanted).claims == (("default", "p-d"),)
