"""A small API server in memory, with a cache that may lag behind it and a switch that cuts the caller off.

It keeps the rules that controllers depend on: unique names, compare-and-set, preconditions, grace periods, finalizers
and the separation of status from spec. What happens on nodes is done by hand: `bind`, `run`, `finish`, `confirm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from services.controllers import instants
from services.controllers.manager import Manager, parts
from services.controllers.view import View
from shared.errors import AlreadyExists, ApiError, Conflict, NotFound, ServiceUnavailable
from shared.events.subjects import Ref
from shared.objects import defaults, meta, registry
from shared.objects.patches import merge_patch, strategic_merge
from shared.state.cache import Cache, Change
from shared.state.record import Record

Object = dict[str, Any]
GRACE = 30


class World:
    """The stored state, the cache that follows it, and the clock."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.revision = 0
        self.stored: dict[Ref, Object] = {}
        self.cache = Cache()
        self.cache.barrier = self._barrier
        self.cache.replace([], 0)
        self.view = View(self.cache)
        self.manager: Manager | None = None
        self.lagging = False
        self.lag = 0.0
        self.writes_left: int | None = None
        self.refuse: Callable[[str, Object | None], ApiError | None] = lambda method, obj: None
        self.events: list[Object] = []
        self.created: list[Ref] = []
        self.deleted: list[Ref] = []
        self._behind: list[Record] = []
        self._uids = count(1)
        self.cache.on_change(self._changed)

    # what tests do

    def put(self, obj: Object, **status: Any) -> Object:
        """Store an object as a user would create it."""
        ref = self._ref(obj)
        if status:
            obj = {**obj, "status": status}
        return self._create(ref, obj)

    def get(self, group: str, resource: str, namespace: str, name: str) -> Object | None:
        """The stored object."""
        return self.stored.get(Ref(group, resource, namespace, name))

    def every(self, group: str, resource: str) -> list[Object]:
        """All stored objects of a resource, by name."""
        return [obj for ref, obj in sorted(self.stored.items()) if ref[:2] == (group, resource)]

    def edit(self, obj: Object, change: Callable[[Object], None]) -> Object:
        """Change a stored object in any way."""
        ref = self._ref(obj)
        new = meta.copy(self.stored[ref])
        change(new)
        if new.get("spec") != self.stored[ref].get("spec"):
            new["metadata"]["generation"] = new["metadata"].get("generation", 0) + 1
        return self._store(ref, new)

    def remove(self, obj: Object, **options: Any) -> None:
        """Delete as a user would."""
        self._delete(self._ref(obj), options)

    def run(self, pod: Object, *, ready: bool = True, node: str = "node-1", ip: str = "") -> None:
        """The pod runs on a node."""
        address = ip or f"10.244.0.{len(self.every('', 'pods')) % 250 + 1}"

        def change(new: Object) -> None:
            new["spec"].setdefault("nodeName", node)
            status = new.setdefault("status", {})
            status.setdefault("podIP", address)
            status["phase"] = "Running"
            condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": self.stamp()}
            status["conditions"] = [condition]

        self.edit(pod, change)

    def finish(self, pod: Object, phase: str, exit_code: int = 0) -> None:
        """The pod's container ends."""

        def change(new: Object) -> None:
            status = new.setdefault("status", {})
            status["phase"] = phase
            status["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": self.stamp()}]
            ended = {"exitCode": exit_code, "finishedAt": self.stamp()}
            status["containerStatuses"] = [{"name": "main", "restartCount": 0, "state": {"terminated": ended}}]

        self.edit(pod, change)

    def confirm(self) -> None:
        """Nodes confirm the end of all pods that are being deleted."""
        for pod in self.every("", "pods"):
            if meta.is_deleting(pod):
                if not meta.pod_finished(pod):
                    self.finish(pod, "Failed", 137)
                self._delete(self._ref(pod), {"gracePeriodSeconds": 0})

    def stamp(self) -> str:
        """The time as text."""
        return instants.text(self.now)

    def catch_up(self) -> None:
        """The cache takes in what it has not seen."""
        behind, self._behind = self._behind, []
        self.cache.apply(behind)

    # what the API client does

    async def get_object(self, path: str) -> Object:
        ref, _ = _parse(path)
        if ref not in self.stored:
            raise NotFound(f"{ref.resource} {ref.name} not found")
        return self.stored[ref]

    async def create(self, path: str, obj: Object, query: Any = None) -> Object:
        self._gate("create", obj)
        ref, _ = _parse(path)
        if ref.resource == "events":
            return self._event(obj)
        return self._answer(self._create(Ref(*ref[:3], obj["metadata"]["name"]), obj, by_controller=True))

    async def update(self, path: str, obj: Object) -> Object:
        self._gate("update", obj)
        ref, subresource = _parse(path)
        old = self._present(ref)
        if (
            obj["metadata"].get("resourceVersion", old["metadata"]["resourceVersion"])
            != old["metadata"]["resourceVersion"]
        ):
            raise Conflict(f"{ref.name} was changed")
        return self._answer(self._replace(ref, old, meta.copy(obj), subresource))

    async def patch(self, path: str, body: Any, kind: str = "merge") -> Object:
        self._gate("patch", body)
        ref, subresource = _parse(path)
        if ref.resource == "events":
            return body
        old = self._present(ref)
        if kind == "strategic":
            resource = registry.by_kind(old["apiVersion"], old["kind"])
            assert resource is not None
            new = strategic_merge(resource.schema, old, body)
        else:
            new = merge_patch(old, body)
        for name in ("uid", "resourceVersion"):
            if new["metadata"].get(name) != old["metadata"].get(name):
                raise Conflict(f"{name} of {ref.name} is another one")
        return self._answer(self._replace(ref, old, new, subresource))

    async def delete(self, path: str, options: Object | None = None) -> Object:
        self._gate("delete", options)
        if path.endswith("/events"):
            return {"kind": "Status"}
        ref, _ = _parse(path)
        return self._answer(self._delete(ref, options or {}))

    # rules

    def _gate(self, method: str, obj: Object | None) -> None:
        if self.writes_left is not None and self.writes_left <= -1:
            raise ServiceUnavailable("cut off")
        error = self.refuse(method, obj)
        if error is not None:
            raise error

    def _answer(self, answer: Object) -> Object:
        """After the last write that is allowed, the write is stored but its answer never arrives."""
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise ServiceUnavailable("cut off")
        return answer

    def _event(self, obj: Object) -> Object:
        self.events.append(obj)
        return obj

    def _present(self, ref: Ref) -> Object:
        if ref not in self.stored:
            raise NotFound(f"{ref.resource} {ref.name} not found")
        return self.stored[ref]

    def _create(self, ref: Ref, obj: Object, *, by_controller: bool = False) -> Object:
        if ref in self.stored:
            raise AlreadyExists(f"{ref.resource} {ref.name} already exists")
        new = meta.copy(obj)
        new["metadata"] = {
            **new["metadata"],
            "uid": new["metadata"].get("uid") or f"uid-{next(self._uids)}",
            "creationTimestamp": self.stamp(),
            "generation": 1,
        }
        resource = registry.by_kind(new["apiVersion"], new["kind"])
        assert resource is not None
        defaults.apply_defaults(resource, new)
        if new["kind"] == "Pod":
            new.setdefault("status", {}).setdefault("phase", "Pending")
        if by_controller:
            self.created.append(ref)
        return self._store(ref, new)

    def _replace(self, ref: Ref, old: Object, new: Object, subresource: str) -> Object:
        if subresource == "status":
            merged = {**old, "status": new.get("status", {})}
        elif subresource == "finalize":
            merged = {**old, "spec": new["spec"]}
        else:
            merged = {**new, **({"status": old["status"]} if "status" in old else {})}
        metadata = merged["metadata"] = {key: value for key, value in merged["metadata"].items() if value is not None}
        if merged.get("spec") != old.get("spec") and not subresource:
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        if merged == old:
            return old
        stored = self._store(ref, merged)
        if meta.is_deleting(stored) and not stored["metadata"].get("deletionGracePeriodSeconds") and not _held(stored):
            self._drop(ref)
        return stored

    def _delete(self, ref: Ref, options: Object) -> Object:
        obj = meta.copy(self._present(ref))
        metadata = obj["metadata"]
        wanted = options.get("preconditions") or {}
        if any(metadata.get(name) != value for name, value in wanted.items()):
            raise Conflict(f"precondition of {ref.name}")
        if options.get("propagationPolicy") == "Foreground":
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), "foregroundDeletion"]
        if options.get("propagationPolicy") == "Orphan":
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), "orphan"]
        grace = 0
        if obj["kind"] == "Pod" and obj["spec"].get("nodeName") and not meta.pod_finished(obj):
            grace = options.get("gracePeriodSeconds", GRACE)
        if not grace and not _held(obj):
            self._drop(ref)
            self.deleted.append(ref)
            return {"kind": "Status", "status": "Success", "details": {"uid": metadata["uid"]}}
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = instants.text(self.now + grace)
            self.deleted.append(ref)
        metadata["deletionGracePeriodSeconds"] = grace
        if obj["kind"] == "Namespace":
            obj.setdefault("status", {})["phase"] = "Terminating"
        return self._store(ref, obj)

    def _store(self, ref: Ref, obj: Object) -> Object:
        self.revision += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self.stored[ref] = obj
        self._tell(Record(ref, self.revision, msgspec.msgpack.encode(obj), time=2e9))
        return obj

    def _drop(self, ref: Ref) -> None:
        obj = self.stored.pop(ref)
        self.revision += 1
        self._tell(Record(ref, self.revision, msgspec.msgpack.encode(obj), time=2e9, deleted=True))

    def _tell(self, record: Record) -> None:
        self._behind.append(record)
        if self.lag:
            asyncio.get_running_loop().call_later(self.lag, self.catch_up)
        elif not self.lagging:
            self.catch_up()

    def _changed(self, change: Change) -> None:
        self.view.apply(*parts(change))
        if self.manager is not None:
            self.manager.changed(change)

    async def _barrier(self) -> int:
        self.catch_up()
        return self.revision

    def _ref(self, obj: Object) -> Ref:
        resource = registry.by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        return Ref(resource.group, resource.plural, *meta.key(obj))


class WorldApi:
    """The world's face for an API client."""

    def __init__(self, world: World) -> None:
        self.get = world.get_object
        self.create = world.create
        self.update = world.update
        self.patch = world.patch
        self.delete = world.delete


def _held(obj: Object) -> bool:
    if obj["metadata"].get("finalizers"):
        return True
    return obj["kind"] == "Namespace" and bool(obj["spec"].get("finalizers"))


def _parse(path: str) -> tuple[Ref, str]:
    group, rest = "", path.strip("/").split("/")
    if rest.pop(0) == "apis":
        group = rest.pop(0)
    rest.pop(0)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    return Ref(group, resource, namespace, name), subresource
