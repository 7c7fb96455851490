"""Algebra of field sets, on their published form.

A FieldsV1 is a tree of dicts. A key is a path element: `f:<field>`, `k:<key fields of a list element, as JSON>`,
`v:<element of a set, as JSON>` or `i:<index>`; an empty node is a member of the set, a node with children is one if it
has the key `.` as well. Working on this form instead of on one of its own means that nothing is decoded and encoded
again on every write, and that what a change leaves alone is shared between the old object and the new one. Sets are
never changed in place. The empty set is `{}`, and every function here takes and returns whole sets unless it says node.
Source: KEP-555 and structured-merge-diff's fieldpath package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

Fields = dict[str, Any]

SELF: Final = "."
MEMBER: Final[Fields] = {}
"""The node of a member without children; shared, so never to be changed."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_RANKS = {"f": 0, "k": 1, "v": 2, "i": 3}


def is_member(node: Fields) -> bool:
    """Whether a node is itself in the set, and not only something below it."""
    return not node or SELF in node


def as_member(node: Fields | None) -> Fields:
    """The node with itself in the set."""
    if not node:
        return MEMBER
    return node if SELF in node else {SELF: MEMBER, **node}


def united(left: Fields, right: Fields) -> Fields:
    """What is in either; `left` itself if `right` adds nothing."""
    if not right:
        return left
    return _united(left, right) if left else right


def _united(left: Fields, right: Fields) -> Fields:
    if left is right:
        return left
    if not right:
        return as_member(left)
    if not left:
        return as_member(right)
    made: Fields | None = None
    for key, node in right.items():
        mine = left.get(key)
        if mine is None:
            joined = node
        elif key == SELF:
            continue
        else:
            joined = _united(mine, node)
            if joined is mine:
                continue
        if made is None:
            made = dict(left)
        made[key] = joined
    return left if made is None else made


def without(left: Fields, right: Fields) -> Fields:
    """What is in `left` and not in `right`; `left` itself if they share nothing."""
    if not left or not right:
        return left
    return _without(left, right) or {}


def _without(left: Fields, right: Fields) -> Fields | None:
    """The node that is left, None if nothing is."""
    if not left:
        return None if is_member(right) else left
    if not right:
        if SELF not in left:
            return left
        return {key: node for key, node in left.items() if key != SELF}
    made: Fields | None = None
    for key, node in right.items():
        mine = left.get(key)
        if mine is None:
            continue
        rest = None if key == SELF else _without(mine, node)
        if rest is mine:
            continue
        if made is None:
            made = dict(left)
        if rest is None:
            del made[key]
        else:
            made[key] = rest
    return left if made is None else _normal(made)


def shared(left: Fields, right: Fields) -> Fields:
    """What is in both."""
    if not left or not right:
        return {}
    return _shared(left, right) or {}


def _shared(left: Fields, right: Fields) -> Fields | None:
    if not left:
        return MEMBER if is_member(right) else None
    if not right:
        return MEMBER if SELF in left else None
    made: Fields = {}
    for key, node in left.items():
        other = right.get(key)
        if other is None:
            continue
        both = MEMBER if key == SELF else _shared(node, other)
        if both is not None:
            made[key] = both
    return _normal(made)


def _normal(node: Fields) -> Fields | None:
    """The node in its one form: None if empty, the plain member if nothing is below."""
    if len(node) == 1 and SELF in node:
        return MEMBER
    return node or None


def members(fields: Fields) -> Iterator[tuple[str, ...]]:
    """The paths in a set: those of one level in order, before what is below them."""
    yield from _members(fields, ())


def _members(node: Fields, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    keys = sorted((key for key in node if key != SELF), key=_order)
    yield from ((*path, key) for key in keys if is_member(node[key]))
    for key in keys:
        if node[key]:
            yield from _members(node[key], (*path, key))


def _order(key: str) -> tuple[int, str]:
    return _RANKS.get(key[:1], len(_RANKS)), key[2:]


def key_element(keys: Mapping[str, Any]) -> str:
    """The path element of a list element with these key fields, which are in order of their names."""
    return f"k:{_encode(keys).decode()}"


def value_element(value: Any) -> str:
    """The path element of an element of a set."""
    return f"v:{_encode(value).decode()}"


def text(path: tuple[str, ...]) -> str:
    """A path as messages show it: `.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"]`."""
    return "".join(element_text(element) for element in path)


def element_text(element: str) -> str:
    """One path element as messages show it."""
    kind, content = element[:1], element[2:]
    if kind == "k":
        fields = _decode(content)
        return f"[{','.join(f'{name}={_encode(value).decode()}' for name, value in fields.items())}]"
    if kind == "v":
        return f"[={content}]"
    return f".{content}" if kind == "f" else f"[{content}]"


def read(value: Any) -> Fields:
    """A set that a client wrote, in the one form; ValueError if it is none."""
    if not isinstance(value, dict):
        raise ValueError("a field set must be an object")
    made = {_read_element(key): _read_node(node) for key, node in value.items() if key != SELF}
    return {key: node for key, node in made.items() if node is not None}


def _read_node(value: Any) -> Fields | None:
    if not isinstance(value, dict):
        raise ValueError("a field set must consist of objects")
    made = {key if key == SELF else _read_element(key): node for key, node in value.items()}
    for key, node in made.items():
        made[key] = MEMBER if key == SELF else _read_node(node)
    return _normal({key: node for key, node in made.items() if node is not None}) if made else MEMBER


def _read_element(key: str) -> str:
    kind, colon, content = key[:1], key[1:2], key[2:]
    if colon != ":" or kind not in _RANKS:
        raise ValueError(f"unknown path element {key}")
    if kind == "f":
        return key
    try:
        value = _decode(content)
    except msgspec.DecodeError as exc:
        raise ValueError(f"path element {key} is not JSON") from exc
    if kind == "v":
        return value_element(value)
    if kind == "i" and isinstance(value, int):
        return key
    if kind == "k" and isinstance(value, dict):
        return key_element(dict(sorted(value.items())))
    raise ValueError(f"malformed path element {key}")
