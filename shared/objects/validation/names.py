"""What names, label keys, ports and addresses look like (apimachinery's util/validation)."""

from __future__ import annotations

import ipaddress
import re

from shared.objects.selectors import LABEL_VALUE_MESSAGE, QUALIFIED_NAME_MESSAGE

LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
WILDCARD_MESSAGE = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    r"regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
CONFIG_KEY_MESSAGE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
PORT_MESSAGE = "must be between 1 and 65535, inclusive"
ADDRESS_MESSAGE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(?:\.{_LABEL.pattern})*", re.ASCII)
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_ENVIRONMENT = re.compile(r"[ -<>-~]+", re.ASCII)


def label(text: str) -> list[str]:
    """Complaints about a DNS label (RFC 1123): at most 63 characters, no dots."""
    if "." in text and _SUBDOMAIN.fullmatch(text):
        return ["must not contain dots"]
    found = ["must be no more than 63 characters"] if len(text) > 63 else []
    return found if _LABEL.fullmatch(text) else [*found, LABEL_MESSAGE]


def subdomain(text: str) -> list[str]:
    """Complaints about a DNS subdomain: labels joined by dots, at most 253 characters."""
    found = ["must be no more than 253 characters"] if len(text) > 253 else []
    return found if _SUBDOMAIN.fullmatch(text) else [*found, SUBDOMAIN_MESSAGE]


def wildcard_subdomain(text: str) -> list[str]:
    """Complaints about a DNS subdomain whose first label is `*`."""
    if text.startswith("*.") and _SUBDOMAIN.fullmatch(text[2:]):
        return []
    return [WILDCARD_MESSAGE]


def path_segment(text: str) -> list[str]:
    """Complaints about a name that may hold anything that fits between two slashes of a URL."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{one}'" for one in "/%" if one in text]


def qualified_name(text: str) -> list[str]:
    """Complaints about a key such as `app` or `example.com/app`."""
    prefix, slash, name = text.rpartition("/")
    found: list[str] = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash and "/" in prefix:
        return [
            f"a qualified name {QUALIFIED_NAME_MESSAGE.removeprefix('name part ')} with an optional DNS subdomain "
            "prefix and '/' (e.g. 'example.com/MyName')"
        ]
    elif slash:
        found.extend(f"prefix part {one}" for one in subdomain(prefix))
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 bytes")
    if name and not _QUALIFIED.fullmatch(name):
        found.append(QUALIFIED_NAME_MESSAGE)
    return found


def label_value(text: str) -> list[str]:
    found = ["must be no more than 63 bytes"] if len(text.encode()) > 63 else []
    return found if not text or _QUALIFIED.fullmatch(text) else [*found, LABEL_VALUE_MESSAGE]


def config_key(text: str) -> list[str]:
    """Complaints about a key of a ConfigMap or Secret; it becomes a file name."""
    found = ["must be no more than 253 characters"] if len(text) > 253 else []
    if not _CONFIG_KEY.fullmatch(text):
        found.append(CONFIG_KEY_MESSAGE)
    if text in (".", ".."):
        found.append(f"must not be '{text}'")
    elif text.startswith(".."):
        found.append("must not start with '..'")
    return found


def environment_variable(text: str) -> list[str]:
    if _ENVIRONMENT.fullmatch(text):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name(text: str) -> list[str]:
    """Complaints about an IANA service name (RFC 6335): up to 15 of a-z, 0-9 and single hyphens, one letter."""
    found = ["must be no more than 15 characters"] if len(text) > 15 else []
    if not re.fullmatch(r"[-a-z0-9]*", text, re.ASCII):
        return [*found, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"]
    if not re.search("[a-z]", text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def port_number(number: int) -> list[str]:
    return [] if 1 <= number <= 65535 else [PORT_MESSAGE]


def port(value: int | str) -> list[str]:
    """Complaints about a port given by number or by name."""
    return port_name(value) if isinstance(value, str) else port_number(value)


def address(text: str) -> list[str]:
    """Complaints about an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return [ADDRESS_MESSAGE]
    return []


def percent_or_number(value: int | str) -> list[str]:
    """Complaints about an absolute number or a percentage such as 25%."""
    if isinstance(value, int):
        return ["must be greater than or equal to 0"] if value < 0 else []
    if re.fullmatch(r"[0-9]+%", value, re.ASCII):
        return []
    return [
        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used "
        "for validation is '[0-9]+%')"
    ]
