"""The formats a string may be asked to have (go-openapi's strfmt and what Kubernetes adds to it).

A format that is not known is no restriction.
"""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from email.utils import parseaddr
from urllib.parse import urlsplit
from uuid import UUID

from shared.objects.cel import EvaluationError
from shared.objects.cel.values import parse_duration, parse_timestamp
from shared.objects.validation import names

Check = Callable[[str], bool]


def fits(name: str, text: str) -> bool:
    """Whether a text has a format; unknown formats fit everything, and hyphens in their names say nothing."""
    check = _FORMATS.get(name.replace("-", ""))
    return check is None or check(text)


def _pattern(text: str) -> Check:
    return functools.partial(_matches, re.compile(text, re.ASCII))


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None


def _readable(read: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            read(text)
        except (ValueError, EvaluationError, binascii.Error):
            return False
        return True

    return check


def _ip(version: int) -> Check:
    return _readable(ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)


def _cidr(text: str) -> object:
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_interface(text)


def _uuid(version: int) -> Check:
    def check(text: str) -> bool:
        try:
            found = UUID(text)
        except ValueError:
            return False
        return not version or found.version == version

    return check


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme or text.startswith("/")) and re.search(r"\s", text) is None


def _email(text: str) -> bool:
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    return bool(local and at and domain) and re.search(r"\s", address) is None


def _date(text: str) -> date:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        raise ValueError(text)
    return date.fromisoformat(text)


def _duration(text: str) -> object:
    # strfmt also takes spellings such as "3 days"
    words = r"\s*\d+\s*(ns|us|µs|ms|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|wk|weeks?)\s*"
    if re.fullmatch(f"({words})+", text) is not None:
        return text
    return parse_duration(text)


def _isbn10(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if re.fullmatch(r"\d{9}[\dXx]", digits, re.ASCII) is None:
        return False
    values = [10 if one in "Xx" else int(one) for one in digits]
    return sum((10 - index) * value for index, value in enumerate(values)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if re.fullmatch(r"\d{13}", digits, re.ASCII) is None:
        return False
    return sum(int(one) * (3 if index % 2 else 1) for index, one in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if re.fullmatch(r"[0-9]{13,19}", digits) is None:
        return False
    doubled = [int(one) * (2 if index % 2 else 1) for index, one in enumerate(reversed(digits))]
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def _hostname(text: str) -> bool:
    return len(text) <= 253 and not names.subdomain(text.lower())


_FORMATS: dict[str, Check] = {
    "bsonobjectid": _pattern(r"[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "cidr": _readable(_cidr),
    "mac": _pattern(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2}"),
    "uuid": _uuid(0),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _pattern(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _pattern(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(r"rgb\(\s*(\d{1,3}%?)\s*,\s*(\d{1,3}%?)\s*,\s*(\d{1,3}%?)\s*\)"),
    "byte": _readable(lambda text: base64.b64decode(text, validate=True)),
    "date": _readable(_date),
    "duration": _readable(_duration),
    "datetime": _readable(parse_timestamp),
    "k8sshortname": lambda text: not names.label(text),
    "k8slongname": lambda text: not names.subdomain(text),
}
