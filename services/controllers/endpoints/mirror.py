"""Mirrors Endpoints that people write by hand into slices, for the proxies read only slices (KEP-2159).

Services with a selector have slices of their own; Endpoints labelled skip-mirror are mirrored by whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.controllers import naming
from services.controllers.actions import NOTHING, Action, Create, Delete, Key, Moment, Object, Plan, Update
from services.controllers.claims import ref_of
from services.controllers.endpoints.legacy import ENDPOINTS
from services.controllers.endpoints.membership import SERVICES, family_of
from services.controllers.endpoints.slices import CAPACITY, MANAGER_LABEL, NAME_LABEL, SLICES, TRIGGER
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
_NOT_COPIED = frozenset({"kubectl.kubernetes.io/last-applied-configuration", TRIGGER})


@dataclass(frozen=True, slots=True)
class _Part:
    """What one mirrored slice holds."""

    family: str
    ports: tuple[Object, ...]
    endpoints: tuple[Object, ...]


def decide(endpoints: Object, existing: Sequence[Object], taken: Callable[[str], bool]) -> list[Action]:
    """Creations, updates and deletions that make the mirrored slices say what the Endpoints object says."""
    actions: list[Action] = []
    left = [one for one in existing if not meta.is_deleting(one)]
    made: list[Object] = []
    for part in _parts(endpoints):
        present = next((one for one in left if one["addressType"] == part.family), None)
        after = _object(endpoints, part, present)
        if present is None:
            made.append(after)
            continue
        left.remove(present)
        if after != present:
            actions.append(Update(ref_of(*SLICES, after), after))
    actions += [Delete(ref_of(*SLICES, one), uid=meta.uid(one)) for one in left]
    names = naming.free(f"{meta.name(endpoints)}-", meta.uid(endpoints), taken, len(made))
    for obj, name in zip(made, names, strict=True):
        obj["metadata"]["name"] = name
        actions.append(Create(ref_of(*SLICES, obj), obj))
    return actions


def _parts(endpoints: Object) -> Iterator[_Part]:
    for subset in endpoints.get("subsets") or ():
        ports = tuple(subset.get("ports") or ())
        every = [(address, True) for address in subset.get("addresses") or ()]
        every += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        for family in ("IPv4", "IPv6"):
            found = [_endpoint(address, ready) for address, ready in every if family_of(address["ip"]) == family]
            for start in range(0, len(found), CAPACITY):
                yield _Part(family, ports, tuple(found[start : start + CAPACITY]))


def _endpoint(address: Object, ready: bool) -> Object:
    copied = {name: address[name] for name in ("hostname", "nodeName", "targetRef") if address.get(name)}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **copied}


def _object(endpoints: Object, part: _Part, before: Object | None) -> Object:
    annotations = {key: value for key, value in meta.annotations(endpoints).items() if key not in _NOT_COPIED}
    labels = {**meta.labels(endpoints), NAME_LABEL: meta.name(endpoints), MANAGER_LABEL: MANAGER}
    content: Object = {"endpoints": list(part.endpoints), "ports": [{"name": "", **port} for port in part.ports]}
    if before is not None:
        metadata = {**before["metadata"], "labels": labels}
        if annotations != meta.annotations(before):
            metadata["annotations"] = annotations
        return {**before, "metadata": metadata, **content}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(endpoints)}-",
            "namespace": meta.namespace(endpoints),
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [meta.owner_reference(endpoints)],
        },
        "addressType": part.family,
        **content,
    }


class MirroredSlices:
    """Reconciles Endpoints of Services without a selector."""

    name = "endpoint_slice_mirroring"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Every Endpoints object."""
        return [meta.key(endpoints) for endpoints in view.every(*ENDPOINTS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The Endpoints object, its Service, its slices."""
        if ref[:2] in (ENDPOINTS, SERVICES):
            return [(ref.namespace, ref.name)]
        one = obj or previous
        if ref[:2] != SLICES or one is None or meta.labels(one).get(MANAGER_LABEL) != MANAGER:
            return []
        return [(ref.namespace, meta.labels(one).get(NAME_LABEL, ""))]

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Mirror, or take back what should not be mirrored any more; gone Endpoints take their slices with them."""
        endpoints, service = view.get(*ENDPOINTS, *key), view.get(*SERVICES, *key)
        if endpoints is None or meta.is_deleting(endpoints):
            return NOTHING
        existing = [
            one for one in view.controlled(endpoints, *SLICES) if meta.labels(one).get(MANAGER_LABEL) == MANAGER
        ]
        by_hand = service is not None and not service["spec"].get("selector")
        if not by_hand or meta.labels(endpoints).get(SKIP_LABEL) == "true":
            return Plan(tuple(Delete(ref_of(*SLICES, one), uid=meta.uid(one)) for one in existing))

        def taken(name: str) -> bool:
            return view.used(Ref(*SLICES, key[0], name))

        return Plan(tuple(decide(endpoints, existing, taken)))
