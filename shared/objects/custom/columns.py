"""The Table columns of custom resources: the name, and what additionalPrinterColumns ask for.

Source: apiextensions-apiserver's pkg/registry/customresource/tableconvertor.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.errors import WherryError
from shared.objects import json, times
from shared.objects.custom import jsonpath
from shared.objects.schema import Column

AGE: Mapping[str, Any] = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


class PrinterColumns:
    """The columns of one version."""

    def __init__(self, declared: list[dict[str, Any]] | None) -> None:
        self._declared: list[Mapping[str, Any]] = [*declared] if declared else [AGE]

    def definitions(self) -> list[dict[str, Any]]:
        """The columnDefinitions of a Table."""
        name: dict[str, Any] = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
        found = [name]
        for one in self._declared:
            found.append(
                {
                    "name": one.get("name", ""),
                    "type": one.get("type", ""),
                    "format": one.get("format", ""),
                    "description": one.get("description", ""),
                    "priority": one.get("priority", 0),
                }
            )
        return found

    def columns(self) -> tuple[Column, ...]:
        return tuple(
            Column(one["name"], one["type"], one["format"], int(one["priority"])) for one in self.definitions()
        )

    def cells(self, obj: Mapping[str, Any], now: datetime) -> list[Any]:
        """The cells of an object's row; null where a value is missing or of another type than its column."""
        return [obj["metadata"].get("name", ""), *(_cell(one, obj, now) for one in self._declared)]


def _cell(column: Mapping[str, Any], obj: Mapping[str, Any], now: datetime) -> Any:
    try:
        found = jsonpath.find(str(column.get("jsonPath") or ""), obj)
    except (ValueError, WherryError):
        return None
    if not found or found[0] is None:
        return None
    value = found[0]
    match column.get("type"):
        case "string":
            if len(found) > 1:
                # as kubectl prints several results of one path
                return " ".join(_text(one) for one in found)
            return _text(value)
        case "integer":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            return int(value)
        case "number":
            return None if isinstance(value, bool) or not isinstance(value, int | float) else value
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return _age(value, now)
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.encode(value).decode()


def _age(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return times.duration(now - times.parse(value))
    except ValueError:
        return "<invalid>"
