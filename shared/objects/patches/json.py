"""JSON patch (RFC 6902) as the API server applies it.

Two readings differ from the RFC: `replace` of a map key that is not there adds it, and `test` of one that is not there
against null holds.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

import jsonpatch
import jsonpointer

from shared.errors import BadRequest, Invalid, RequestEntityTooLarge
from shared.objects import json, meta

MAX_OPERATIONS = 10000
# evanphx/json-patch's AccumulatedCopySizeLimit, as kube-apiserver sets it
MAX_COPIED_BYTES = 3 << 20
SAFE_POINTER = 30
_REFUSED = "the server rejected our request due to an error in our request"


class _Replace(jsonpatch.ReplaceOperation):
    def apply(self, obj: Any) -> Any:
        parent, part = self.pointer.to_last(obj)
        if isinstance(parent, dict) and part is not None and "value" in self.operation:
            parent[part] = meta.copy(self.operation["value"])
            return obj
        return super().apply(obj)


class _Test(jsonpatch.TestOperation):
    def apply(self, obj: Any) -> Any:
        if self.operation.get("value", ...) is None:
            parent, part = self.pointer.to_last(obj)
            if isinstance(parent, dict) and part is not None and parent.get(part) is None:
                return obj
        return super().apply(obj)


class _Patch(jsonpatch.JsonPatch):
    operations: ClassVar[MappingProxyType[str, type[jsonpatch.PatchOperation]]] = MappingProxyType(
        {**jsonpatch.JsonPatch.operations, "replace": _Replace, "test": _Test}
    )


class _Growth:
    """What copies add to an object: each may double it, so that a short patch could fill the memory."""

    def __init__(self) -> None:
        self._copied = 0

    def account(self, operation: dict[str, Any], obj: Any) -> None:
        """Invalid if this copy makes all copies together too large."""
        if operation.get("op") != "copy":
            return
        value = jsonpointer.resolve_pointer(obj, str(operation.get("from", "")), None)
        self._copied += len(json.encode(value))
        if self._copied > MAX_COPIED_BYTES:
            raise Invalid(_REFUSED)


def _may_be_deep(operations: list[dict[str, Any]]) -> bool:
    return any(
        one.get("op") in ("copy", "move") or str(one.get("path", "")).count("/") > SAFE_POINTER for one in operations
    )


def json_patch(obj: dict[str, Any], operations: Any) -> dict[str, Any]:
    """The object after the operations.

    BadRequest if they are no list of objects, Invalid if one of them does not apply, RequestEntityTooLarge if there are
    more than MAX_OPERATIONS.
    """
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        bad = operations if not isinstance(operations, list) else next(x for x in operations if not isinstance(x, dict))
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {json.json_type(bad)} into Go value of type "
            f"[]handlers.jsonPatchOp"
        )
    if len(operations) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    if any(str(one.get("path", "")).count("/") > json.MAX_DEPTH for one in operations):
        raise Invalid(_REFUSED)
    made = meta.copy(obj)
    try:
        growth = _Growth()
        for operation in operations:
            growth.account(operation, made)
            made = _Patch([meta.copy(operation)]).apply(made, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, IndexError) as exc:
        raise Invalid(_REFUSED) from exc
    if not isinstance(made, dict):
        raise Invalid(_REFUSED)
    if _may_be_deep(operations) and json.depth(made) > json.MAX_DEPTH:
        raise Invalid(_REFUSED)
    return made
