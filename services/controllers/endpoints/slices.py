"""EndpointSlices of a Service: at most 100 endpoints each, changed as little as possible (KEP-752).

An endpoint that is in a slice stays there; slices with room are filled before new ones are made, slices that would
go are turned into ones that would be made, and slices that a change does not touch are not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.controllers import naming
from services.controllers.actions import Action, Create, Delete, Object, Update
from services.controllers.claims import ref_of
from services.controllers.endpoints import membership
from services.controllers.endpoints.membership import Member, Ports
from shared.objects import meta

SLICES = ("discovery.k8s.io", "endpointslices")
NAME_LABEL = "kubernetes.io/service-name"
MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
CAPACITY = 100
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
"""When the oldest change happened that a slice was last written for: proxies measure their latency by it."""

Groups = dict[Ports, dict[str, Object]]
"""Endpoints by uid of their pod, grouped by ports."""


@dataclass(slots=True)
class _Slice:
    """A slice as it will be; `before` is the existing object, None for a new one."""

    before: Object | None
    ports: Ports
    endpoints: list[Object] = field(default_factory=list)

    @property
    def unchanged(self) -> bool:
        """Whether the existing slice already holds exactly these endpoints."""
        return self.before is not None and (self.before.get("endpoints") or []) == self.endpoints


def decide(
    service: Object, members: Iterable[Member], existing: Iterable[Object], taken: Callable[[str], bool]
) -> list[Action]:
    """Creations, updates and deletions that bring the Service's slices up to date.

    `existing` are the slices we manage; `taken` tells whether a slice name is in use.
    """
    members = list(members)
    triggers = {meta.uid(member.pod): member.changed_at for member in members}
    kept = [one for one in existing if not meta.is_deleting(one)]
    families = list(service["spec"].get("ipFamilies") or ["IPv4"])
    actions: list[Action] = [_delete(one) for one in kept if one["addressType"] not in families]
    made: list[Object] = []
    for family in families:
        present = [one for one in kept if one["addressType"] == family]
        planned, doomed = _plan(_group(service, members, family), present)
        for one in planned:
            if one.before is None and doomed:
                one.before = doomed.pop(0)
            after = _object(service, one, family, triggers)
            if one.before is None:
                made.append(after)
            elif after != one.before:
                actions.append(Update(ref_of(*SLICES, after), after))
        actions += [_delete(one) for one in doomed]
    return [*actions, *_creations(service, made, taken)]


def _group(service: Object, members: Iterable[Member], family: str) -> Groups:
    distribution = service["spec"].get("trafficDistribution") or ""
    grouped: Groups = {}
    for member in members:
        addresses = member.addresses(family)
        if addresses:
            grouped.setdefault(member.ports, {})[meta.uid(member.pod)] = endpoint(member, addresses[0], distribution)
    # A Service without pods keeps one empty slice, by which clients know that it was looked at.
    return grouped or {(): {}}


def _plan(wanted: Groups, present: Sequence[Object]) -> tuple[list[_Slice], list[Object]]:
    planned: list[_Slice] = []
    doomed = [one for one in present if _ports_of(one) not in wanted]
    for ports, endpoints in wanted.items():
        same = [one for one in present if _ports_of(one) == ports]
        packed = _pack(ports, endpoints, same)
        keep_one = not endpoints
        for one in packed:
            if one.endpoints or keep_one:
                planned.append(one)
                keep_one = False
            elif one.before is not None:
                doomed.append(one.before)
        if keep_one:
            planned.append(_Slice(None, ports))
    return planned, doomed


def _pack(ports: Ports, wanted: dict[str, Object], same: Sequence[Object]) -> list[_Slice]:
    left = dict(wanted)
    slices = []
    for before in same:
        one = _Slice(before, ports)
        for old in before.get("endpoints") or ():
            uid = (old.get("targetRef") or {}).get("uid", "")
            if uid in left:
                one.endpoints.append(left.pop(uid))
        slices.append(one)
    pending = list(left.values())
    changing = [one for one in slices if not one.unchanged]
    for one in sorted(changing, key=lambda one: -len(one.endpoints)):
        room = CAPACITY - len(one.endpoints)
        one.endpoints += pending[:room]
        pending = pending[room:]
    settled = [one for one in slices if one.unchanged and len(one.endpoints) + len(pending) <= CAPACITY]
    if pending and settled:
        max(settled, key=lambda one: len(one.endpoints)).endpoints += pending
        pending = []
    slices += [_Slice(None, ports, pending[start : start + CAPACITY]) for start in range(0, len(pending), CAPACITY)]
    return slices


def endpoint(member: Member, address: str, distribution: str = "") -> Object:
    """The discovery/v1 Endpoint of a member; `distribution` is the Service's `trafficDistribution`."""
    result: Object = {
        "addresses": [address],
        "conditions": {"ready": member.ready, "serving": member.serving, "terminating": member.terminating},
        "targetRef": member.target(),
    }
    if member.hostname:
        result["hostname"] = member.hostname
    if member.pod["spec"].get("nodeName"):
        result["nodeName"] = member.pod["spec"]["nodeName"]
    if member.zone:
        result["zone"] = member.zone
    if hints := _hints(member, distribution):
        result["hints"] = hints
    return result


def _hints(member: Member, distribution: str) -> Object:
    """For whom a ready endpoint is meant first (KEP-4444, KEP-3015)."""
    hints: Object = {}
    if member.ready and distribution in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        if member.zone:
            hints["forZones"] = [{"name": member.zone}]
        if distribution == "PreferSameNode" and (node := member.pod["spec"].get("nodeName")):
            hints["forNodes"] = [{"name": node}]
    return hints


def _object(service: Object, one: _Slice, family: str, triggers: Mapping[str, str]) -> Object:
    labels = {
        **membership.labels_of(service),
        NAME_LABEL: service["metadata"]["name"],
        MANAGER_LABEL: MANAGER,
    }
    content: Object = {"endpoints": one.endpoints, "ports": [_port(*port) for port in one.ports]}
    if one.before is not None:
        before = one.before
        # An absent list and an empty one are the same; rewriting one as the other would never end.
        changed = {name: value for name, value in content.items() if (before.get(name) or []) != value}
        metadata = {**before["metadata"], "labels": labels}
        trigger = _oldest_change(one, triggers)
        if "endpoints" in changed and trigger:
            metadata["annotations"] = {**meta.annotations(before), TRIGGER: trigger}
        return {**before, "metadata": metadata, **changed}
    trigger = _oldest_change(one, triggers) or service["metadata"].get("creationTimestamp", "")
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": service["metadata"]["name"] + "-",
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "annotations": {TRIGGER: trigger} if trigger else {},
            "ownerReferences": [meta.owner_reference(service)],
        },
        "addressType": family,
        **content,
    }


def _oldest_change(one: _Slice, triggers: Mapping[str, str]) -> str:
    before = (one.before or {}).get("endpoints") or []
    changed = [endpoint["targetRef"]["uid"] for endpoint in one.endpoints if endpoint not in before]
    return min((triggers[uid] for uid in changed if triggers.get(uid)), default="")


def _creations(service: Object, made: Sequence[Object], taken: Callable[[str], bool]) -> list[Action]:
    names = naming.free(service["metadata"]["name"] + "-", service["metadata"]["uid"], taken, len(made))
    actions: list[Action] = []
    for one, name in zip(made, names, strict=True):
        one["metadata"]["name"] = name
        actions.append(Create(ref_of(*SLICES, one), one))
    return actions


def _delete(one: Object) -> Delete:
    return Delete(ref_of(*SLICES, one), uid=meta.uid(one))


def _port(name: str, number: int, protocol: str, app_protocol: str | None) -> Object:
    port: Object = {"name": name, "port": number, "protocol": protocol}
    if app_protocol is not None:
        port["appProtocol"] = app_protocol
    return port


def _ports_of(one: Object) -> Ports:
    return tuple(
        (port.get("name", ""), port["port"], port.get("protocol", "TCP"), port.get("appProtocol"))
        for port in one.get("ports") or ()
    )
