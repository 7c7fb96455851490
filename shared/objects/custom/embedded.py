"""Objects within objects (x-kubernetes-embedded-resource) must say what they are.

Source: apiextensions-apiserver's pkg/apiserver/schema/objectmeta/validation.go.
"""

from __future__ import annotations

import re
from typing import Any

from shared.objects.custom.structural import Node
from shared.objects.custom.values import join
from shared.objects.validation.causes import Cause, invalid, required

_KIND = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


def complaints(node: Node, value: Any, path: str) -> list[Cause]:
    """What embedded objects lack: a kind and an apiVersion."""
    if not node.has_embedded:
        return []
    found: list[Cause] = []
    if isinstance(value, dict):
        if node.embedded:
            found += _type(value, path)
        for name, item in value.items():
            child = node.child(name)
            if child is not None:
                found += complaints(child, item, join(path, name))
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            found += complaints(node.items, item, f"{path}[{index}]")
    return found


def _type(value: dict[str, Any], path: str) -> list[Cause]:
    found = []
    version, kind = value.get("apiVersion"), value.get("kind")
    if not version:
        found.append(required(join(path, "apiVersion"), "must not be empty"))
    elif not isinstance(version, str) or version.count("/") > 1:
        found.append(invalid(join(path, "apiVersion"), version, f"unexpected GroupVersion string: {version}"))
    if not kind:
        found.append(required(join(path, "kind"), "must not be empty"))
    elif not isinstance(kind, str) or _KIND.fullmatch(kind.lower()) is None:
        found.append(invalid(join(path, "kind"), kind, "may have mixed case, but should otherwise be a DNS label"))
    return found
