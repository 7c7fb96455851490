"""Walks over typed objects: which fields are set, what changed between two, a configuration merged in, fields removed.

The rules are those of Kubernetes' structured merge: an added container counts as a change of itself and of all it
holds; elements of keyed lists and keys of maps are members, fields of structs only at the leaves.
"""

from dataclasses import dataclass, field
from typing import Any

from services.apiserver.apply.fieldsets import SELF, FieldSet, Path, Tree, named, tree_of
from services.apiserver.apply.shapes import Shape
from services.apiserver.protocol import Object

MISSING: Any = object()


@dataclass(slots=True)
class Comparison:
    """Paths that are new, changed or gone."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    def without(self, excluded: "Excluded") -> "Comparison":
        return Comparison(*({path for path in one if not excluded(path)} for one in self._sets()))

    def _sets(self) -> tuple[set[Path], set[Path], set[Path]]:
        return self.added, self.modified, self.removed


class Excluded:
    """Top-level fields that a path of the API cannot change, so that nobody comes to own them through it."""

    def __init__(self, *names: str, only: tuple[str, ...] = ()) -> None:
        self._names = frozenset(map(named, names))
        self._only = frozenset(map(named, only))

    def __call__(self, path: Path) -> bool:
        return path[0] in self._names or (bool(self._only) and path[0] not in self._only)


def fields_of(shape: Shape, value: Any) -> FieldSet:
    """The fields that a configuration speaks of."""
    found: set[Path] = set()
    _collect(shape, value, (), found)
    return frozenset(found)


def compare(shape: Shape, old: Any, new: Any) -> Comparison:
    """What makes `new` differ from `old`; MISSING stands for nothing."""
    result = Comparison()
    _compare(shape, old, new, (), result)
    return result


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """The live value with a configuration laid over it; neither is changed."""
    if config is MISSING:
        return live
    if live is MISSING or live is None or config is None or shape.kind == "leaf":
        return config
    if shape.kind in ("struct", "map"):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = merge(shape.child(name), live.get(name, MISSING), value)
        return merged
    return _merge_list(shape, live, config)


def remove(shape: Shape, obj: Object, paths: FieldSet) -> Object:
    """The object without some fields and all that is below them; what becomes empty vanishes."""
    pruned = _remove(shape, obj, tree_of(paths))
    return pruned if pruned is not MISSING else {}


def with_named_parents(shape: Shape, paths: FieldSet) -> FieldSet:
    """The set together with the struct fields that lead to its members."""
    found = set(paths)
    for path in paths:
        current: Shape | None = shape
        for depth, element in enumerate(path[:-1], 1):
            if current is None:
                break
            name = element[2:]
            if element.startswith("f:") and current.is_named(name):
                found.add(path[:depth])
            current = current.child(name) if element.startswith("f:") else current.element
    return frozenset(found)


def duplicates(shape: Shape, value: Any, path: Path = ()) -> list[tuple[Path, str]]:
    """(path of the list, element) of every key that a list of a configuration has twice."""
    found = []
    if shape.kind == "leaf" or value is None:
        return []
    seen = set()
    for element, inner_shape, inner in shape.children(value):
        if element in seen:
            found.append((path, element))
        seen.add(element)
        found += duplicates(inner_shape, inner, (*path, element))
    return found


def _collect(shape: Shape, value: Any, path: Path, found: set[Path]) -> None:
    if shape.kind == "leaf":
        found.add(path)
        return
    if value is None:
        return
    for element, inner_shape, inner in shape.children(value):
        inner_path = (*path, element)
        _collect(inner_shape, inner, inner_path, found)
        if shape.kind != "struct" or inner is None or inner == {}:
            found.add(inner_path)


def _compare(shape: Shape, old: Any, new: Any, path: Path, result: Comparison) -> None:
    if old is new or (old is not MISSING and new is not MISSING and old == new):
        return
    both_empty = _is_empty(old) and _is_empty(new)
    if shape.kind == "leaf" or both_empty:
        if old is not MISSING and new is not MISSING:
            result.modified.add(path)
            return
    else:
        before = _children(shape, old)
        after = _children(shape, new)
        for element in before.keys() | after.keys():
            inner_shape, old_inner = before.get(element, (None, MISSING))
            found_shape, new_inner = after.get(element, (inner_shape, MISSING))
            _compare(found_shape or shape, old_inner, new_inner, (*path, element), result)
    if old is MISSING:
        result.added.add(path)
    elif new is MISSING:
        result.removed.add(path)


def _children(shape: Shape, value: Any) -> dict[str, tuple[Shape | None, Any]]:
    if value is MISSING or value is None:
        return {}
    return {element: (inner_shape, inner) for element, inner_shape, inner in shape.children(value)}


def _merge_list(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    """Merge a list by its keys: the configuration's order rules for what it names, the rest keeps its place."""
    present = {shape.key_of(item): item for item in live}
    wanted = {shape.key_of(item): item for item in config}
    element = shape.element
    merged = []
    placed: set[str] = set()
    pending = list(wanted)

    def place_until(key: str) -> None:
        """The configuration's elements up to and with `key`."""
        while pending:
            first = pending.pop(0)
            inner = present.get(first, MISSING)
            merged.append(merge(element, inner, wanted[first]) if element is not None else wanted[first])
            placed.add(first)
            if first == key:
                return

    for item in live:
        key = shape.key_of(item)
        if key in placed:
            continue
        if key not in wanted:
            merged.append(item)
        elif key == next((one for one in pending if one in present), ""):
            place_until(key)
    place_until("")
    return merged


def _remove(shape: Shape, value: Any, tree: Tree) -> Any:
    if shape.kind == "leaf" or value is None:
        return value
    if shape.kind in ("struct", "map"):
        kept: Any = {}
        for name, inner in value.items():
            node = tree.get(named(name))
            left = inner if node is None else MISSING if SELF in node else _remove(shape.child(name), inner, node)
            if left is not MISSING:
                kept[name] = left
    else:
        kept = []
        for element, inner_shape, inner in shape.children(value):
            node = tree.get(element)
            left = inner if node is None else MISSING if SELF in node else _remove(inner_shape, inner, node)
            if left is not MISSING:
                kept.append(left)
    return kept or (MISSING if value else value)


def _is_empty(value: Any) -> bool:
    return value is MISSING or value is None or (isinstance(value, dict | list) and not value)
