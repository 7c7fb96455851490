"""Label and field selectors: the query language of lists and watches, and the selector structs of specs.

Grammar and semantics are those of apimachinery's `labels` and `fields` packages: a requirement that excludes values is
met by an absent label, one that includes values is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import BadRequest
from shared.objects.registry import Resource

LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
QUALIFIED_NAME_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_TOKEN = re.compile(r"\s*(?:(==|!=|[=!(),<>])|([^\s=!(),<>]+))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One comparison. Operators: in, notin, exists, absent, gt, lt; equality is `in` with one value."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
        if value is None or not _is_integer(value):
            return False
        (bound,) = self.values
        return int(value) > int(bound) if self.operator == "gt" else int(value) < int(bound)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; `nothing` is the selector of an absent struct, which selects no object."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.nothing and not self.requirements


def parse_labels(text: str) -> LabelSelector:
    """A selector such as `app=web,tier in (a,b),!old,n>3`; "" selects everything. BadRequest if it cannot be read."""
    if not text.strip():
        return LabelSelector()
    tokens = list(_tokens(text))
    requirements: list[Requirement] = []
    position = 0
    while True:
        requirement, position = _requirement(tokens, position)
        requirements.append(requirement)
        if position == len(tokens):
            return LabelSelector(tuple(requirements))
        if tokens[position] != ",":
            raise _unparsable(f"found '{tokens[position]}', expected: ',' or 'end of string'")
        position += 1


def from_label_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector of a meta/v1 LabelSelector; None selects nothing, an empty one everything."""
    if selector is None:
        return LabelSelector(nothing=True)
    requirements = [
        Requirement(key, "in", frozenset((value,))) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or ():
        operator = _OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise BadRequest(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        requirements.append(Requirement(expression.get("key", ""), operator, frozenset(expression.get("values") or ())))
    return LabelSelector(tuple(requirements))


def is_label_value(text: str) -> bool:
    return _VALUE.fullmatch(text) is not None


def is_qualified_name(text: str) -> bool:
    """Whether the text may be a label or annotation key: an optional DNS subdomain and slash, up to 63 characters."""
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > 253 or _PREFIX.fullmatch(prefix) is None):
        return False
    return bool(name) and is_label_value(name)


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent", "Gt": "gt", "Lt": "lt"}


def _tokens(text: str) -> Iterator[str]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unparsable(f"unexpected character at {position}")
        yield match[1] or match[2]
        position = match.end()


def _requirement(tokens: list[str], position: int) -> tuple[Requirement, int]:
    def token(at: int) -> str:
        return tokens[at] if at < len(tokens) else ""

    if token(position) == "!":
        return Requirement(_key(token(position + 1)), "absent"), position + 2
    key = _key(token(position))
    operator = token(position + 1)
    if operator in ("", ","):
        return Requirement(key, "exists"), position + 1
    if operator in ("in", "notin"):
        values, after = _values(tokens, position + 2)
        return Requirement(key, operator, values), after
    if operator not in ("=", "==", "!=", ">", "<"):
        raise _unparsable(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    value, after = ("", position + 2) if token(position + 2) in ("", ",") else (token(position + 2), position + 3)
    if operator in ("<", ">"):
        if not _is_integer(value):
            raise _unparsable(
                f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer",
            )
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset((value,))), after
    return Requirement(key, "notin" if operator == "!=" else "in", frozenset((_value(key, value),))), after


def _values(tokens: list[str], position: int) -> tuple[frozenset[str], int]:
    if position >= len(tokens) or tokens[position] != "(":
        found = tokens[position] if position < len(tokens) else ""
        raise _unparsable(f"found '{found}', expected: '('")
    values: set[str] = set()
    current = ""
    for index in range(position + 1, len(tokens)):
        token = tokens[index]
        if token in (",", ")"):
            values.add(_value("", current))
            current = ""
            if token == ")":
                return frozenset(values), index + 1
        elif current or token in ("(", "=", "==", "!=", "!", "<", ">"):
            raise _unparsable(f"found '{token}', expected: ',', or ')'")
        else:
            current = token
    raise _unparsable("found '', expected: ',', or ')'")


def _key(key: str) -> str:
    if not is_qualified_name(key):
        if not key or key in "=!(),<>==!=":
            raise _unparsable(f"found '{key}', expected: !, identifier, or 'end of string'")
        raise _unparsable(f'key: Invalid value: "{key}": {QUALIFIED_NAME_MESSAGE}')
    return key


def _value(key: str, value: str) -> str:
    if not is_label_value(value):
        raise _unparsable(f'values[0][{key}]: Invalid value: "{value}": {LABEL_VALUE_MESSAGE}')
    return value


def _unparsable(why: str) -> BadRequest:
    return BadRequest(f"unable to parse requirement: {why}")


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,19}", text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    field: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Comparisons of single fields; `pairs` lets a caller take a shortcut, such as a lookup by name."""

    requirements: tuple[FieldRequirement, ...]
    readers: tuple[Callable[[Mapping[str, Any]], str], ...]

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return all(
            (read(obj) == requirement.value) is requirement.equal
            for requirement, read in zip(self.requirements, self.readers, strict=True)
        )

    @property
    def everything(self) -> bool:
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The one value `field` must equal, if the selector says so."""
        return next((one.value for one in self.requirements if one.field == field and one.equal), None)


def parse_fields(resource: Resource, text: str) -> FieldSelector:
    """A selector such as `spec.nodeName=a,status.phase!=Failed`; BadRequest if a field cannot be selected by."""
    requirements = tuple(_field_requirement(part) for part in _split_fields(text) if part)
    for requirement in requirements:
        if requirement.field not in resource.field_selectors:
            raise BadRequest(f"field label not supported: {requirement.field}")
    return FieldSelector(requirements, tuple(_reader(resource, one.field) for one in requirements))


def _split_fields(text: str) -> list[str]:
    return re.findall(r"(?:\\.|[^,\\])+", text)


def _field_requirement(part: str) -> FieldRequirement:
    match = re.fullmatch(r"((?:\\.|[^=!\\])*)(!=|==|=)(.*)", part, re.DOTALL)
    if match is None:
        raise BadRequest(f"invalid selector: '{part}'; can't understand '{part}'")
    field, operator, value = match.groups()
    if re.search(r"(?<!\\)=", value):
        raise BadRequest(f"invalid field selector: unescaped '=' in '{value}'")
    if re.search(r"\\(?![\\,=])", re.sub(r"\\\\", "", value)):
        raise BadRequest(f"invalid field selector: invalid escape sequence in '{value}'")
    return FieldRequirement(field, re.sub(r"\\([\\,=])", r"\1", value), operator != "!=")


def _reader(resource: Resource, field: str) -> Callable[[Mapping[str, Any]], str]:
    special = _SPECIAL.get((resource.kind, field))
    if special is not None:
        return special
    path = field.split(".")
    zero = _zero(resource, path)

    def read(obj: Mapping[str, Any]) -> str:
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, dict | list):
            return zero
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return read


def _zero(resource: Resource, path: list[str]) -> str:
    """What an absent field compares as: Go's zero value of its type."""
    struct = resource.schema
    for part in path[:-1]:
        inner = struct.fields[part].struct if part in struct.fields else None
        if inner is None:
            return ""
        struct = inner
    field = struct.fields.get(path[-1])
    return {"bool": "false", "int32": "0", "int64": "0"}.get(field.type, "") if field is not None else ""


def _event_source(event: Mapping[str, Any]) -> str:
    component = (event.get("source") or {}).get("component")
    return str(component or event.get("reportingComponent") or "")


def _job_successful(job: Mapping[str, Any]) -> str:
    return str((job.get("status") or {}).get("succeeded") or 0)


_SPECIAL: dict[tuple[str, str], Callable[[Mapping[str, Any]], str]] = {
    ("Event", "source"): _event_source,
    ("Job", "status.successful"): _job_successful,
}
