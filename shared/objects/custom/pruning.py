"""Dropping what the schema does not know, and saying what was dropped.

Source: apiextensions-apiserver's pkg/apiserver/schema/pruning and objectmeta.
"""

from __future__ import annotations

from typing import Any

from shared.errors import BadRequest
from shared.objects import decoding, schema
from shared.objects.custom.structural import Node, Object

_TYPE_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


def prune(node: Node, obj: Object) -> list[str]:
    """Drop unknown fields, in place; the paths of what went, such as spec.tasks[0].x, in order.

    The metadata of the object itself is left alone here: it has a type of its own, see `coerce`.
    """
    gone: list[str] = []
    metadata = obj.get("metadata")
    _prune(node, obj, "", gone, root=True)
    if metadata is not None:
        obj["metadata"] = metadata
    return sorted(gone)


def coerce(node: Node, obj: Object) -> list[str]:
    """Bring the metadata of the object and of embedded objects into form, in place; the unknown fields that went.

    BadRequest if some metadata is none.
    """
    gone: list[str] = []
    _coerce_metadata(obj, "", gone)
    if node.has_embedded:
        _coerce(node, obj, "", gone)
    return gone


def _prune(node: Node, value: Any, path: str, gone: list[str], *, root: bool = False) -> None:
    if type(value) is list:
        if node.items is not None:
            for index, item in enumerate(value):
                _prune(node.items, item, f"{path}[{index}]", gone)
        return
    if type(value) is not dict:
        return
    typed = root or node.embedded
    for name in list(value):
        if typed and name in _TYPE_FIELDS:
            continue
        child = node.properties.get(name) or node.additional
        where = f"{path}.{name}" if path else name
        if child is not None:
            _prune(child, value[name], where, gone)
        elif not node.preserve:
            gone.append(where)
            del value[name]


def _coerce(node: Node, value: Any, path: str, gone: list[str]) -> None:
    if node.embedded and path and type(value) is dict:
        _coerce_metadata(value, path, gone)
    if type(value) is list and node.items is not None:
        for index, item in enumerate(value):
            _coerce(node.items, item, f"{path}[{index}]", gone)
    elif type(value) is dict:
        for name, item in value.items():
            child = node.child(name)
            if child is not None:
                _coerce(child, item, f"{path}.{name}" if path else name, gone)


def _coerce_metadata(obj: Object, path: str, gone: list[str]) -> None:
    metadata = obj.get("metadata")
    if metadata is None:
        obj.pop("metadata", None)
        return
    where = f"{path}.metadata" if path else "metadata"
    if type(metadata) is not dict:
        raise BadRequest(f"{where}: Invalid value: must be an object")
    struct = schema.struct("meta/v1.ObjectMeta")
    try:
        unknown = decoding.conform(struct, metadata)
    except BadRequest as exc:
        _, _, why = exc.message.rpartition("json: ")
        raise BadRequest(f"{where}: Invalid value: json: {why}") from exc
    gone += [one.replace('unknown field "', f'unknown field "{where}.', 1)[15:-1] for one in unknown]
