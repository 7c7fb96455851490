"""Generic ephemeral volumes: a claim for each, owned by the pod, so that it goes when the pod goes (KEP-1698)."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Action, Create, Key, Moment, Note, Object, Plan
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.volumebinding import CLAIMS, ephemeral_name


class EphemeralVolumes:
    """Makes the claims of pods that have ephemeral volumes."""

    name = "ephemeral_volume"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Every pod with such a volume."""
        return [meta.key(pod) for pod in view.every(*PODS) if _templates(pod)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """A new pod; of a claim that went away, the pod that controlled it."""
        if ref[:2] == PODS:
            return [(ref.namespace, ref.name)] if obj is not None and _templates(obj) else []
        if ref[:2] == CLAIMS and obj is None and previous is not None:
            owner = meta.controller_of(previous)
            return [(ref.namespace, owner["name"])] if owner is not None and owner["kind"] == "Pod" else []
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Create what is missing; a claim of that name that belongs to somebody else is left alone."""
        pod = view.get(*PODS, *key)
        if pod is None or meta.is_deleting(pod) or meta.pod_finished(pod):
            return NOTHING
        actions: list[Action] = []
        for volume in _templates(pod):
            name = ephemeral_name(pod, volume["name"])
            present = view.get(*CLAIMS, key[0], name)
            if present is None:
                actions.append(Create(Ref(*CLAIMS, key[0], name), claim(pod, volume), existing="wait"))
            elif not meta.is_controlled_by(present, pod):
                text = f'PersistentVolumeClaim "{name}" was not created for pod {key[0]}/{key[1]} (pod is not owner)'
                actions.append(Note(pod, "FailedBinding", text, "Warning"))
        return Plan(tuple(actions))


def claim(pod: Object, volume: Object) -> Object:
    """The claim of one ephemeral volume."""
    template = volume["ephemeral"]["volumeClaimTemplate"]
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": ephemeral_name(pod, volume["name"]),
            "namespace": pod["metadata"]["namespace"],
            **{key: dict(metadata[key]) for key in ("labels", "annotations") if metadata.get(key)},
            "ownerReferences": [meta.owner_reference(pod)],
        },
        "spec": meta.copy(template["spec"]),
    }


def _templates(pod: Object) -> list[Object]:
    volumes: list[Object] = pod["spec"].get("volumes") or []
    return [volume for volume in volumes if (volume.get("ephemeral") or {}).get("volumeClaimTemplate")]
