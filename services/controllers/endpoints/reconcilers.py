"""Two controllers over the same members: EndpointSlices, and Endpoints for clients of the older API."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Delete, Key, Moment, Object, Plan
from services.controllers.claims import ref_of
from services.controllers.endpoints import legacy, membership, slices
from services.controllers.endpoints.legacy import ENDPOINTS
from services.controllers.endpoints.membership import SERVICES, ZONE
from services.controllers.endpoints.slices import SLICES
from services.controllers.view import NODES, PODS, View
from shared.events.subjects import Ref
from shared.objects import meta


class EndpointSlices:
    """Keeps the slices of Services with a selector; they go with their Service by owner reference."""

    name = "endpoint_slice"
    workers = 5

    def keys(self, view: View) -> Iterable[Key]:
        """Every Service."""
        return [meta.key(service) for service in view.every(*SERVICES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The Service itself, those a pod belongs to, the one a slice belongs to; all of them when zones change."""
        if ref[:2] == SERVICES:
            return [(ref.namespace, ref.name)]
        if ref[:2] == PODS:
            return membership.concerned(obj, previous, view.every(*SERVICES, ref.namespace))
        if ref[:2] == SLICES:
            versions = [version for version in (obj, previous) if version is not None]
            return {(ref.namespace, meta.labels(one).get(slices.NAME_LABEL, "")) for one in versions if _is_ours(one)}
        if ref[:2] == NODES and _zone(obj) != _zone(previous):
            return self.keys(view)
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Bring the slices of one Service up to date; a Service that lost its selector loses its slices."""
        service = view.get(*SERVICES, *key)
        if service is None or meta.is_deleting(service):
            return NOTHING
        ours = [one for one in view.controlled(service, *SLICES) if _is_ours(one)]
        if not membership.is_selecting(service):
            return Plan(tuple(Delete(ref_of(*SLICES, one), uid=meta.uid(one)) for one in ours))

        def taken(name: str) -> bool:
            return view.used(Ref(*SLICES, key[0], name))

        return Plan(tuple(slices.decide(service, membership.gather(service, view), ours, taken)))


class Endpoints:
    """Keeps the Endpoints object of the same name for Services with a selector."""

    name = "endpoint"
    workers = 5

    def keys(self, view: View) -> Iterable[Key]:
        """Every Service."""
        return [meta.key(service) for service in view.every(*SERVICES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The Service itself, the Service of an Endpoints object, those a pod belongs to."""
        if ref[:2] in (SERVICES, ENDPOINTS):
            return [(ref.namespace, ref.name)]
        if ref[:2] == PODS:
            return membership.concerned(obj, previous, view.every(*SERVICES, ref.namespace))
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Bring the object up to date; one that we made goes with its Service."""
        service, existing = view.get(*SERVICES, *key), view.get(*ENDPOINTS, *key)
        if service is None:
            ours = existing is not None and meta.labels(existing).get(legacy.MANAGER_LABEL) == legacy.MANAGER
            if existing is None or not ours:
                return NOTHING
            return Plan((Delete(ref_of(*ENDPOINTS, existing), uid=meta.uid(existing)),))
        if not membership.is_selecting(service) or meta.is_deleting(service):
            return NOTHING
        return Plan(tuple(legacy.decide(service, membership.gather(service, view), existing)))


def _is_ours(one: Object) -> bool:
    return meta.labels(one).get(slices.MANAGER_LABEL) == slices.MANAGER


def _zone(node: Object | None) -> str:
    return meta.labels(node).get(ZONE, "") if node is not None else ""
