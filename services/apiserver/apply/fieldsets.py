"""Sets of field paths, and the FieldsV1 form in which metadata.managedFields stores them.

A path is a tuple of elements written as FieldsV1 writes them: `f:spec`, `k:{"name":"a"}` (an element of a keyed list),
`v:"x"` (an element of a set). FieldsV1 nests them; `.` marks a node that is a member and has members below it.
"""

from collections.abc import Iterable
from typing import Any

from shared.objects import json

Path = tuple[str, ...]
FieldSet = frozenset[Path]
Tree = dict[str, Any]

EMPTY: FieldSet = frozenset()
SELF = "."


def named(name: str) -> str:
    """The element of a field or map key."""
    return f"f:{name}"


def keyed(keys: dict[str, Any]) -> str:
    """The element of a list keyed by some fields."""
    return "k:" + json.encode(dict(sorted(keys.items()))).decode()


def valued(value: Any) -> str:
    """The element of a set."""
    return "v:" + json.encode(value).decode()


def tree_of(paths: Iterable[Path]) -> Tree:
    """The paths as nested elements; a node that is a path itself holds SELF."""
    tree: Tree = {}
    for path in paths:
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node[SELF] = {}
    return tree


def encode(paths: FieldSet) -> Tree:
    """The FieldsV1 of a set."""
    return _encoded(tree_of(sorted(paths)))


def decode(fields: Tree) -> FieldSet:
    """The set of a FieldsV1; what is malformed is left out, as a client may write anything there."""
    found: set[Path] = set()
    _collect(fields, (), found)
    return frozenset(found)


def text(path: Path) -> str:
    """A path as conflicts show it: `.spec.containers[name="a"].image`."""
    parts = []
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            parts.append(f".{rest}")
        elif kind == "k:":
            keys = json.parse(rest.encode())
            parts.append("[" + ",".join(f"{name}={json.encode(value).decode()}" for name, value in keys.items()) + "]")
        else:
            parts.append(f"[={rest}]")
    return "".join(parts)


def _encoded(tree: Tree) -> Tree:
    if set(tree) == {SELF}:
        return {}
    return {element: {} if element == SELF else _encoded(inner) for element, inner in tree.items()}


def _collect(node: Tree, path: Path, found: set[Path]) -> None:
    if not node and path:
        found.add(path)
    for element, inner in node.items():
        if element == SELF:
            found.add(path)
        elif isinstance(inner, dict) and element[:2] in ("f:", "k:", "v:", "i:"):
            _collect(inner, (*path, element), found)
