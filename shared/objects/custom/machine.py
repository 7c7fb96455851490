"""A version's schema at work: what it makes of objects that come in, and what it has against them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from shared.objects.custom import defaulting, embedded, listtypes, pruning, rules, structural, values
from shared.objects.custom.shapes import CustomGranular
from shared.objects.custom.structural import MISSING
from shared.objects.managed.shapes import Granular
from shared.objects.validation.causes import Cause

Object = dict[str, Any]

_BLOCKING = frozenset({"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
_UNCHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
    "<nil>",
)


class Machine:
    """Made of an openAPIV3Schema, possibly empty; without `prunes` unknown fields are kept."""

    def __init__(self, schema: Mapping[str, Any], *, prunes: bool = True) -> None:
        self.node = structural.compile(schema) if schema else structural.anything()
        self._prunes = prunes

    @functools.cached_property
    def shape(self) -> Granular:
        """What field managers can own."""
        return CustomGranular(self.node, root=True)

    def conform(self, obj: Object) -> list[str]:
        """Prune and bring metadata into form, in place; the paths of what went. BadRequest if metadata is none."""
        gone = pruning.coerce(self.node, obj)
        obj.setdefault("metadata", {})
        if self._prunes:
            gone += pruning.prune(self.node, obj)
        _plain_numbers(obj)
        return sorted(gone)

    def fill(self, obj: Object) -> None:
        """Fill in defaults and drop nulls that count as absent, in place."""
        defaulting.fill(self.node, obj)

    def serve(self, obj: Object) -> None:
        """Bring a stored object into the form of today, in place."""
        if self._prunes:
            pruning.prune(self.node, obj)
        defaulting.fill(self.node, obj)

    def validate(self, obj: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
        """What the schema and its rules have against an object that would replace `old`."""
        content = _content(obj)
        found = values.validate(self.node, content, "", MISSING if old is None else _content(old))
        found += listtypes.duplicates(self.node, content, "")
        found += embedded.complaints(self.node, content, "")
        if not self.node.has_rules:
            return found
        if any(one.reason in _BLOCKING for one in found):
            return [*found, _UNCHECKED]
        return found + rules.check(self.node, obj, MISSING if old is None else old)


def _content(obj: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema speaks about: metadata has rules of its own, of which a schema may only restrict the name."""
    return {name: value for name, value in obj.items() if name != "metadata"} | {
        "metadata": {key: obj["metadata"][key] for key in ("name", "generateName") if key in obj["metadata"]}
    }


def _plain_numbers(value: Any) -> None:
    """Numbers as Go reads and writes them, in place: 1.0 becomes 1, and what is no int64 a double."""
    pairs = value.items() if type(value) is dict else enumerate(value)
    for key, item in pairs:
        if type(item) is float:
            if item.is_integer() and abs(item) < 1e21:
                value[key] = int(item)
        elif type(item) is int:
            if not -(2**63) <= item < 2**63:
                value[key] = float(item)
        elif type(item) is dict or type(item) is list:
            _plain_numbers(item)
