"""Whether a value fits a schema: the keywords of OpenAPI, with the reasons and words of Kubernetes.

A part that an update leaves as it was is not looked at again (KEP-4008), so that a schema may become stricter.
Source: kube-openapi's pkg/validation/validate and apiextensions-apiserver's pkg/apiserver/validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from shared.objects import json
from shared.objects.cel import EvaluationError
from shared.objects.cel.library.patterns import pattern
from shared.objects.cel.values import equal
from shared.objects.custom import formats
from shared.objects.custom.structural import MISSING, Node
from shared.objects.validation.causes import Cause, invalid, required, unsupported

_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
NOWHERE = "<nil>"
"""The field of complaints that Kubernetes gives no place."""


def validate(node: Node, value: Any, path: str, old: Any = MISSING) -> list[Cause]:
    """What is wrong with a value; `old` is what stood in its place before."""
    if old is not MISSING and old == value and type(old) is type(value):
        return []
    if value is None:
        return [] if node.nullable or not node.type else [_wrong_type(node, path, "null")]
    found = _type(node, value, path)
    kind = type(value)
    if kind is str:
        found += _string(node.raw, value, path)
    elif kind is int or kind is float:
        found += _number(node, value, path)
    elif kind is list:
        found += _list(node, value, path, old)
    elif kind is dict:
        found += _object(node, value, path, old)
    found += _enum(node.raw, value, path)
    return found + _combined(node, value, path)


def type_name(value: Any) -> str:
    """The name of a JSON value's type, as OpenAPI has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _type(node: Node, value: Any, path: str) -> list[Cause]:
    given = type_name(value)
    if node.int_or_string:
        return [] if given in ("integer", "string") else [_wrong_type(node, path, given)]
    if not node.type or given == node.type or (node.type == "number" and given == "integer"):
        return []
    return [_wrong_type(node, path, given)]


def _wrong_type(node: Node, path: str, given: str) -> Cause:
    wanted = "integer,string" if node.int_or_string else node.type
    text = f'Invalid value: "{given}": {path} in body must be of type {wanted}: "{given}"'
    return Cause("FieldValueTypeInvalid", text, path)


def _string(raw: Mapping[str, Any], value: str, path: str) -> list[Cause]:
    found = _text(raw, value, path)
    form = raw.get("format")
    if form and not formats.fits(form, value):
        text = f"Invalid value: {_shown(value)}: {path} in body must be of type {form}: {_shown(value)}"
        found.append(Cause("FieldValueTypeInvalid", text, path))
    return found


def _text(raw: Mapping[str, Any], value: str, path: str) -> list[Cause]:
    """The first of length and pattern that does not fit: Kubernetes looks no further."""
    longest, shortest, regex = raw.get("maxLength"), raw.get("minLength"), raw.get("pattern")
    if longest is not None and len(value) > longest:
        return [Cause("FieldValueTooLong", f"Too long: may not be more than {longest} bytes", path)]
    if shortest is not None and len(value) < shortest:
        return [invalid(path, value, f"{path} in body should be at least {shortest} chars long")]
    if regex and not _fits_pattern(regex, value):
        return [invalid(path, value, f"{path} in body should match '{regex}'")]
    return []


def _fits_pattern(regex: str, value: str) -> bool:
    try:
        return pattern(regex).search(value) is not None
    except EvaluationError:
        return False


def _number(node: Node, value: float, path: str) -> list[Cause]:
    raw = node.raw
    found = []
    limits = _RANGES.get(raw.get("format") or "") if node.type == "integer" else None
    fraction = node.type == "integer" and isinstance(value, float) and not value.is_integer()
    if fraction or (limits is not None and not limits[0] <= value <= limits[1]):
        form = f"with format {raw['format']}" if raw.get("format") else "(default format)"
        found.append(invalid(NOWHERE, "", f"Checked value must be of type integer {form} in {path}"))
    factor, highest, lowest = raw.get("multipleOf"), raw.get("maximum"), raw.get("minimum")
    if factor is not None and not _is_multiple(value, factor):
        found.append(invalid(path, value, f"{path} in body should be a multiple of {_number_text(factor)}"))
    if highest is not None and (value > highest or (raw.get("exclusiveMaximum") and value == highest)):
        relation = "less than" if raw.get("exclusiveMaximum") else "less than or equal to"
        found.append(invalid(path, value, f"{path} in body should be {relation} {_number_text(highest)}"))
    if lowest is not None and (value < lowest or (raw.get("exclusiveMinimum") and value == lowest)):
        relation = "greater than" if raw.get("exclusiveMinimum") else "greater than or equal to"
        found.append(invalid(path, value, f"{path} in body should be {relation} {_number_text(lowest)}"))
    return found


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return factor == 0 or value % factor == 0
    quotient = value / factor if factor else 0.0
    return math.isclose(quotient, round(quotient), rel_tol=1e-12, abs_tol=1e-12)


def _number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _list(node: Node, value: list[Any], path: str, old: Any) -> list[Cause]:
    raw = node.raw
    found = []
    most, least = raw.get("maxItems"), raw.get("minItems")
    if most is not None and len(value) > most:
        found.append(_too_many(path, len(value), most))
    if least is not None and len(value) < least:
        found.append(invalid(path, value, f"{path} in body should have at least {least} items"))
    if raw.get("uniqueItems") and any(
        equal(one, other) for index, one in enumerate(value) for other in value[index + 1 :]
    ):
        found.append(invalid(path, value, f"{path} in body shouldn't contain duplicates"))
    if node.items is not None:
        before = correlated(node, old)
        for index, item in enumerate(value):
            found += validate(node.items, item, f"{path}[{index}]", before(item))
    return found


def _object(node: Node, value: dict[str, Any], path: str, old: Any) -> list[Cause]:
    raw = node.raw
    found = []
    most, least = raw.get("maxProperties"), raw.get("minProperties")
    if most is not None and len(value) > most:
        found.append(_too_many(path, len(value), most))
    if least is not None and len(value) < least:
        found.append(invalid(path, value, f"{path} in body should have at least {least} properties"))
    found += [required(join(path, name)) for name in raw.get("required") or () if name not in value]
    before = old if isinstance(old, dict) else {}
    for name, item in value.items():
        child = node.properties.get(name) or node.additional
        if child is not None:
            found += validate(child, item, join(path, name), before.get(name, MISSING))
        elif node.closed:
            found.append(invalid(join(path, name), item, f"{path}.{name} in body is a forbidden property"))
    return found


def _too_many(path: str, count: int, most: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {most} items", path)


def _enum(raw: Mapping[str, Any], value: Any, path: str) -> list[Cause]:
    allowed = raw.get("enum")
    if not allowed or any(equal(one, value) for one in allowed):
        return []
    return [unsupported(path, value, [one if isinstance(one, str) else _shown(one) for one in allowed])]


def _combined(node: Node, value: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    for one in node.all_of:
        found += validate(one, value, path)
    if node.any_of:
        outcomes = [validate(one, value, path) for one in node.any_of]
        if all(outcomes):
            found.append(_nowhere(path, "must validate at least one schema (anyOf)"))
            found += _fewest(outcomes)
    if node.one_of:
        outcomes = [validate(one, value, path) for one in node.one_of]
        valid = sum(1 for one in outcomes if not one)
        if valid != 1:
            count = f"Found {valid} valid alternatives" if valid else "Found none valid"
            found.append(_nowhere(path, f"must validate one and only one schema (oneOf). {count}"))
            found += _fewest(outcomes) if not valid else []
    if node.negated is not None and not validate(node.negated, value, path):
        found.append(_nowhere(path, "must not validate the schema (not)"))
    return found


def _fewest(outcomes: list[list[Cause]]) -> list[Cause]:
    return min(outcomes, key=lambda causes: len(causes))


def _nowhere(path: str, text: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "": "{path}" {text}', NOWHERE)


def correlated(node: Node, old: Any) -> Callable[[Any], Any]:
    """What stood in a list for an element before: found by its keys, or by its value in a set; MISSING if nothing."""
    if not isinstance(old, list) or node.list_type not in ("map", "set"):
        return lambda item: MISSING
    keys = node.map_keys if node.list_type == "map" else ()

    def identity(item: Any) -> str:
        return _shown([item.get(name) for name in keys] if keys and isinstance(item, dict) else item)

    known = {identity(item): item for item in old}
    return lambda item: known.get(identity(item), MISSING)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    return json.encode(value).decode()
