"""Kubernetes' named formats: format.dns1123Label().validate("x") answers nothing, or a list of complaints."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from shared.objects.cel.declarations import Library, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.library import urls
from shared.objects.cel.types import STRING, list_of, optional_of
from shared.objects.cel.values import NONE, CelOptional, Opaque, parse_timestamp
from shared.objects.validation import names

library = Library()
Check = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Format(Opaque):
    """A named format."""

    name: str
    type_name = "kubernetes.NamedFormat"


FORMAT = library.opaque_type("kubernetes.NamedFormat", Format)


def _prefixed(check: Check) -> Check:
    """A name to which a suffix will be added may end in a hyphen."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") else text)


def _dns1035_label(text: str) -> list[str]:
    if len(text) <= 63 and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", text, re.ASCII):
        return []
    return [
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation "
        "is '[a-z]([-a-z0-9]*[a-z0-9])?')"
    ]


def _readable(read: Callable[[str], object], complaint: str) -> Check:
    def check(text: str) -> list[str]:
        try:
            read(text)
        except (ValueError, EvaluationError, binascii.Error):
            return [complaint]
        return []

    return check


def _date(text: str) -> date:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        raise ValueError(text)
    return date.fromisoformat(text)


_FORMATS: dict[str, Check] = {
    "dns1123Label": names.label,
    "dns1123Subdomain": names.subdomain,
    "dns1035Label": _dns1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": _prefixed(names.label),
    "dns1123SubdomainPrefix": _prefixed(names.subdomain),
    "dns1035LabelPrefix": _prefixed(_dns1035_label),
    "labelValue": names.label_value,
    "uri": _readable(urls.parse, "invalid URI"),
    "uuid": _readable(UUID, "does not match the UUID format"),
    "byte": _readable(lambda text: base64.b64decode(text, validate=True), "invalid base64"),
    "date": _readable(_date, "invalid date"),
    "datetime": _readable(parse_timestamp, "invalid datetime"),
}


def _named(name: str) -> CelOptional:
    return CelOptional(True, Format(name)) if name in _FORMATS else NONE


def _validate(held: Format, text: str) -> CelOptional:
    complaints = _FORMATS[held.name](text)
    return CelOptional(True, complaints) if complaints else NONE


def _constant(name: str) -> Callable[[], Format]:
    return lambda: Format(name)


for _name in _FORMATS:
    library.function(f"format.{_name}", (), FORMAT, _constant(_name))
library.function("format.named", (STRING,), optional_of(FORMAT), _named)
library.method("validate", (FORMAT, STRING), optional_of(list_of(STRING)), _validate, cost=traversal(1))
