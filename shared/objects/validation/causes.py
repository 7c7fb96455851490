"""Causes of an Invalid answer, in Kubernetes' reasons and words (apimachinery's field.Error)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from shared.objects import json


class Cause(NamedTuple):
    """One complaint: a machine-readable reason, a text, and the path of the field (meta/v1 StatusCause)."""

    reason: str
    message: str
    field: str


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}", field)


def unsupported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    values = ", ".join(f'"{one}"' for one in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {values}", field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def not_negative(field: str, value: int | None) -> list[Cause]:
    """Complain about a number below zero; None is fine."""
    return [invalid(field, value, "must be greater than or equal to 0")] if value is not None and value < 0 else []


def one_of(field: str, value: Any, supported: Iterable[str]) -> list[Cause]:
    supported = tuple(supported)
    return [] if value in supported else [unsupported(field, value, supported)]


def _shown(value: Any) -> str:
    return json.encode(value).decode()
