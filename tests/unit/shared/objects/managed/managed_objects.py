"""Objects under field management for the tests, written as a client would."""

from typing import Any

from shared.objects import decoding, defaults, managed, meta, registry
from shared.objects.managed import APPLY, UPDATE, Applied, Manager
from shared.objects.registry import Resource

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
Object = dict[str, Any]


def resource(kind: str, api_version: str = "v1") -> Resource:
    found = registry.by_kind(api_version, kind)
    assert found is not None
    return found


class Managed:
    """One live object and what becomes of it; `fields` are the sets by manager name."""

    def __init__(self, kind: str, api_version: str = "v1") -> None:
        self.resource = resource(kind, api_version)
        self.live: Object | None = None

    def _complete(self, obj: Object, entries: list[Object]) -> None:
        obj = meta.copy(obj)
        decoding.conform(self.resource.schema, obj)
        defaults.apply_defaults(self.resource, obj)
        obj["metadata"].pop("managedFields", None)
        if entries:
            obj["metadata"]["managedFields"] = entries
        obj["metadata"].setdefault("uid", "1")
        self.live = obj

    def _body(self, fields: Object) -> Object:
        obj: Object = {"apiVersion": self.resource.api_version, "kind": self.resource.kind, **meta.copy(fields)}
        obj["metadata"] = {"name": "o", **obj.get("metadata", {})}
        return obj

    def apply(self, manager: str, fields: Object, *, force: bool = False, now: str = EARLY, **options: Any) -> Applied:
        by = Manager(manager, APPLY, self.resource.api_version, options.pop("subresource", ""))
        applied = managed.apply(self.resource.schema, self.live, self._body(fields), by, now, force=force, **options)
        self._complete(applied.object, applied.entries)
        return applied

    def create(self, manager: str, fields: Object, now: str = EARLY) -> None:
        obj = self._body(fields)
        decoding.conform(self.resource.schema, obj)
        defaults.apply_defaults(self.resource, obj)
        by = Manager(manager, UPDATE, self.resource.api_version)
        self._complete(obj, managed.created(self.resource.schema, obj, by, now))

    def update(self, manager: str, changes: Object, now: str = EARLY, **options: Any) -> None:
        """Replace top-level fields; those of metadata one by one."""
        assert self.live is not None
        obj = meta.copy(self.live)
        obj["metadata"] |= changes.pop("metadata", {})
        obj |= meta.copy(changes)
        decoding.conform(self.resource.schema, obj)
        defaults.apply_defaults(self.resource, obj)
        by = Manager(manager, UPDATE, self.resource.api_version, options.pop("subresource", ""))
        self._complete(obj, managed.updated(self.resource.schema, self.live, obj, by, now, **options))

    @property
    def entries(self) -> list[Object]:
        assert self.live is not None
        found: list[Object] = self.live["metadata"].get("managedFields", [])
        return found

    @property
    def fields(self) -> dict[str, Object]:
        return {entry["manager"]: entry["fieldsV1"] for entry in self.entries}

    def time(self, manager: str) -> str | None:
        return next((entry.get("time") for entry in self.entries if entry["manager"] == manager), "no entry")
