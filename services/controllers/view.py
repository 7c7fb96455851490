"""The state as controllers look at it: the cache, plus the relations that a list by namespace would make expensive.

Owners point at nothing; dependents point at owners. Every controller asks the reverse question ("which pods are
mine?", "what hangs below this uid?", "what runs on this node?"), so those answers are kept up to date from the cache's
changes instead of scanning a namespace for each reconciliation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from services.controllers.actions import Object
from shared.events.subjects import Ref
from shared.objects import meta

PODS = ("", "pods")
NODES = ("", "nodes")


class Record(Protocol):
    """What the view needs of a cached record."""

    @property
    def ref(self) -> Ref: ...
    @property
    def object(self) -> Object: ...


class Source(Protocol):
    """What the view needs of the cache."""

    def get(self, ref: Ref) -> Any: ...
    def list(self, group: str, resource: str, namespace: str = "") -> Iterable[Any]: ...
    def expected(self, ref: Ref) -> int: ...
    def resources(self) -> Iterable[tuple[str, str]]: ...


def owners(obj: Mapping[str, Any]) -> list[Object]:
    """The ownerReferences of an object, possibly none."""
    found: list[Object] = obj.get("metadata", {}).get("ownerReferences") or []
    return found


class View:
    """Indexed read access to a cache. Objects handed out are shared: copy before changing."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._by_uid: dict[str, Ref] = {}
        self._dependents: dict[str, dict[Ref, None]] = {}
        self._loose: dict[tuple[str, str, str], dict[Ref, None]] = {}
        self._on_node: dict[str, dict[Ref, None]] = {}

    def apply(self, ref: Ref, obj: Object | None, previous: Object | None) -> None:
        """Take over one change; `obj` is None after a deletion, `previous` is None before a creation."""
        if previous is not None:
            self._forget(ref, previous)
        if obj is not None:
            self._learn(ref, obj)

    def get(self, group: str, resource: str, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return self.at(Ref(group, resource, namespace, name))

    def at(self, ref: Ref) -> Object | None:
        """The object at a ref, or None."""
        record = self._source.get(ref)
        return None if record is None else record.object

    def every(self, group: str, resource: str, namespace: str = "") -> list[Object]:
        """All objects of a resource, in one namespace or everywhere, sorted by namespace and name."""
        return [record.object for record in self._source.list(group, resource, namespace)]

    def resources(self) -> list[tuple[str, str]]:
        """(group, plural) of every resource that has objects."""
        return list(self._source.resources())

    def used(self, ref: Ref) -> bool:
        """Whether this name is taken now, or was within the life of tombstones."""
        return self._source.expected(ref) != 0

    def by_uid(self, uid: str) -> Ref | None:
        """Where the object with this uid lives, or None if no such object exists."""
        return self._by_uid.get(uid)

    def dependents(self, uid: str) -> list[Ref]:
        """Refs of all objects with an ownerReference to this uid."""
        return list(self._dependents.get(uid, ()))

    def controlled(self, owner: Object, group: str, resource: str) -> list[Object]:
        """Objects of a resource whose managing controller is `owner`."""
        uid = owner["metadata"]["uid"]
        found = (self.at(ref) for ref in self.dependents(uid) if ref[:2] == (group, resource))
        return [obj for obj in found if obj is not None and meta.is_controlled_by(obj, owner)]

    def loose(self, group: str, resource: str, namespace: str) -> list[Object]:
        """Objects of a resource in a namespace that no controller manages."""
        found = (self.at(ref) for ref in self._loose.get((group, resource, namespace), ()))
        return [obj for obj in found if obj is not None]

    def pods_on(self, node: str) -> list[Object]:
        """Pods bound to a node, finished ones included."""
        found = (self.at(ref) for ref in self._on_node.get(node, ()))
        return [obj for obj in found if obj is not None]

    def nodes_with_pods(self) -> list[str]:
        """Names of all nodes that pods are bound to, whether or not such a Node exists."""
        return [node for node, refs in self._on_node.items() if refs]

    def _learn(self, ref: Ref, obj: Object) -> None:
        self._by_uid[obj["metadata"].get("uid", "")] = ref
        for index, key in self._entries(ref, obj):
            index.setdefault(key, {})[ref] = None

    def _forget(self, ref: Ref, obj: Object) -> None:
        uid = obj["metadata"].get("uid", "")
        if self._by_uid.get(uid) == ref:
            del self._by_uid[uid]
        for index, key in self._entries(ref, obj):
            refs = index.get(key)
            if refs is not None:
                refs.pop(ref, None)
                if not refs:
                    del index[key]

    def _entries(self, ref: Ref, obj: Object) -> Iterator[tuple[dict[Any, dict[Ref, None]], Any]]:
        for owner in owners(obj):
            yield self._dependents, owner.get("uid", "")
        if meta.controller_of(obj) is None and ref.group in ("", "apps"):
            yield self._loose, (ref.group, ref.resource, ref.namespace)
        if ref[:2] == PODS and (node := obj.get("spec", {}).get("nodeName")):
            yield self._on_node, node
