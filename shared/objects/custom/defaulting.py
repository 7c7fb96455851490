"""Filling in the defaults of a schema, on writing as well as on reading.

A null in a field that is not nullable counts as absent: it is replaced by the default, or dropped without one.
Source: apiextensions-apiserver's pkg/apiserver/schema/defaulting.
"""

from __future__ import annotations

from typing import Any

from shared.objects import meta
from shared.objects.custom.structural import MISSING, Node


def fill(node: Node, value: Any) -> None:
    """Default and drop nulls in a value, in place; doing it twice changes nothing."""
    if type(value) is dict:
        for name, child in node.properties.items():
            if child.default is not MISSING and (name not in value or (value[name] is None and not child.nullable)):
                value[name] = _copy(child.default)
        dropped = []
        for name, item in value.items():
            child_node = node.properties.get(name) or node.additional
            if child_node is None:
                continue
            if item is None:
                if not child_node.nullable:
                    dropped.append(name)
                continue
            fill(child_node, item)
        for name in dropped:
            del value[name]
    elif type(value) is list and node.items is not None:
        items = node.items
        for index, item in enumerate(value):
            if item is None and not items.nullable and items.default is not MISSING:
                value[index] = _copy(items.default)
            else:
                fill(items, item)


def _copy(value: Any) -> Any:
    return meta.copy({"value": value})["value"] if isinstance(value, dict | list) else value
