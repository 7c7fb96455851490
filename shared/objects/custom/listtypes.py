"""Lists that are sets or maps must not hold the same element twice.

Source: apiextensions-apiserver's pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

from typing import Any

from shared.objects import json
from shared.objects.custom.structural import Node
from shared.objects.custom.values import join
from shared.objects.validation.causes import Cause, duplicate


def duplicates(node: Node, value: Any, path: str) -> list[Cause]:
    """Every element that repeats an earlier one."""
    if not node.has_list_keys:
        return []
    found: list[Cause] = []
    if isinstance(value, list):
        if node.list_type in ("set", "map"):
            found += _repeated(node, value, path)
        if node.items is not None:
            for index, item in enumerate(value):
                found += duplicates(node.items, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            child = node.child(name)
            if child is not None:
                found += duplicates(child, item, join(path, name))
    return found


def _repeated(node: Node, value: list[Any], path: str) -> list[Cause]:
    seen: set[bytes] = set()
    found = []
    for index, item in enumerate(value):
        identity = item
        if node.list_type == "map":
            if not isinstance(item, dict):
                continue
            identity = {name: item[name] for name in sorted(node.map_keys) if name in item}
        text = json.encode(identity)
        if text in seen:
            found.append(duplicate(f"{path}[{index}]", identity))
        seen.add(text)
    return found
