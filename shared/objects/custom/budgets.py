"""Whether the rules of a schema may cost more than they should on the largest objects that it allows.

Source: apiextensions-apiserver's pkg/apis/apiextensions/validation (cel_validation.go, validation.go) and
pkg/apiserver/schema/cel; apiserver's pkg/cel/common/schemas.go for how large values of a schema may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.objects import cel
from shared.objects.cel import CompilationError, types
from shared.objects.cel.costs import MOST, Bound, product, total
from shared.objects.custom.cel_types import escape, type_of
from shared.objects.custom.structural import MISSING, Node
from shared.objects.validation.causes import Cause, forbidden

RULE_LIMIT = 10_000_000
"""Of one expression, times how often it may run."""

SCHEMA_LIMIT = 100_000_000
"""Of all expressions of a schema together."""

REQUEST_BYTES = 3 << 20
MOST_NAMED = 4
LONGEST_TIME, LONGEST_DURATION, DATE = 32, 32, 12
_SMALLEST = {"date": DATE, "date-time": 21, "duration": 3}
_LONGEST = {"date": DATE, "date-time": LONGEST_TIME, "duration": LONGEST_DURATION}
_SCALAR_BYTES = {"boolean": 4, "integer": 1, "number": 1}
_HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are"
)


@dataclass(frozen=True, slots=True)
class Sized:
    """A schema as CEL sees it: how large its values may be, and the fewest bytes that one takes as JSON."""

    bound: Bound
    least_bytes: int


def validate(node: Node, path: str) -> list[Cause]:
    """What is too costly in a structural schema at `path`, whose rules all compile."""
    if not node.has_rules:
        return []
    found: list[Cause] = []
    observed: list[tuple[str, int]] = []
    for at, limited, cost in _costs(node, path, 1, root=True):
        if cost > RULE_LIMIT:
            found.append(forbidden(at, _exceeds(f"estimated {limited} cost", cost, RULE_LIMIT)))
        observed.append((at, cost))
    whole = total(*(cost for _, cost in observed))
    if whole > SCHEMA_LIMIT:
        dear = [one for one in observed if one[1] >= SCHEMA_LIMIT // 100]
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found += [forbidden(at, text) for at, _ in sorted(dear, key=lambda one: -one[1])[:MOST_NAMED]]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found.append(forbidden(path, _exceeds(name, whole, SCHEMA_LIMIT)))
    return found


def _exceeds(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x" if factor <= 100 else "more than 100x"
    return f"{name} exceeds budget by factor of {shown} {_HINT} declared)"


def _costs(node: Node, path: str, times: int | None, *, root: bool = False) -> Iterator[tuple[str, str, int]]:
    """Path, name and worst cost of every expression; `times` is how often the schema may occur, None if nothing but the
    size of a request limits it."""
    if not node.has_rules:
        return
    if node.rules and (sized := size_of(node, root=root)) is not None:
        kind = type_of(node, root=root)
        for index, rule in enumerate(node.rules):
            at = f"{path}.x-kubernetes-validations[{index}]"
            often = times if times is not None else REQUEST_BYTES // (sized.least_bytes + 1)
            yield f"{at}.rule", "rule", product(_cost(rule, "rule", kind, sized), often)
            if rule.get("messageExpression"):
                yield f"{at}.messageExpression", "messageExpression", _cost(rule, "messageExpression", kind, sized)
    if node.additional is not None:
        yield from _costs(node.additional, f"{path}.additionalProperties", _more(times, node.raw.get("maxProperties")))
    below = times if node.additional is None else _more(times, node.raw.get("maxProperties"))
    for name, child in node.properties.items():
        yield from _costs(child, f"{path}.properties[{name}]", below)
    if node.items is not None:
        yield from _costs(node.items, f"{path}.items", _more(times, node.raw.get("maxItems")))


def _more(times: int | None, most: Any) -> int | None:
    return None if times is None or most is None else product(times, max(int(most), 0))


def _cost(rule: Mapping[str, Any], name: str, kind: types.Type, sized: Sized) -> int:
    old = types.optional_of(kind) if rule.get("optionalOldSelf") else kind
    try:
        bounds = dict.fromkeys(("self", "oldSelf"), sized.bound)
        return cel.worst_cost(str(rule.get(name) or ""), {"self": kind, "oldSelf": old}, bounds)
    except CompilationError:
        # which is told elsewhere
        return 0


def size_of(node: Node, *, root: bool = False) -> Sized | None:
    """How large values of a schema may be; None for what expressions cannot see."""
    raw = node.raw
    if node.int_or_string:
        return Sized(Bound(_characters(raw, REQUEST_BYTES - 2)), 1)
    match node.type:
        case "array":
            items = size_of(node.items, root=node.items.embedded) if node.items is not None else None
            if items is None:
                return None
            most = _limit(raw.get("maxItems"), (REQUEST_BYTES - 2) // (items.least_bytes + 1))
            return Sized(Bound(most, items.bound), 2)
        case "object" if node.additional is not None:
            values = size_of(node.additional, root=node.additional.embedded)
            if values is None:
                return None
            most = _limit(raw.get("maxProperties"), (REQUEST_BYTES - 2) // (values.least_bytes + 6))
            return Sized(Bound(most, values.bound, keys=Bound()), 2)
        case "object":
            return _object(node, root=root or node.embedded)
        case "string":
            return _text(raw)
        case kind if kind in _SCALAR_BYTES:
            return Sized(Bound(), _SCALAR_BYTES[kind])
    return None


def _object(node: Node, *, root: bool) -> Sized:
    required = frozenset(node.raw.get("required") or ())
    fields: dict[str, Bound] = {}
    least = 2
    for name, child in node.properties.items():
        sized = size_of(child, root=child.embedded)
        if sized is None:
            continue
        if (escaped := escape(name)) is not None:
            fields[escaped] = sized.bound
        if name in required and child.default is MISSING:
            least += len(name) + sized.least_bytes + 4
    if root:
        text = Bound(REQUEST_BYTES - 2)
        fields |= {"apiVersion": text, "kind": text, "metadata": Bound(fields={"name": text, "generateName": text})}
    return Sized(Bound(fields=fields), least)


def _text(raw: Mapping[str, Any]) -> Sized:
    form = str(raw.get("format") or "")
    if form in _LONGEST:
        return Sized(Bound(_LONGEST[form]), _SMALLEST[form])
    if form == "byte":
        return Sized(Bound(_limit(raw.get("maxLength"), REQUEST_BYTES - 2)), 2)
    if raw.get("maxLength") is None and raw.get("enum"):
        return Sized(Bound(max((len(one.encode()) for one in raw["enum"] if isinstance(one, str)), default=0)), 2)
    return Sized(Bound(_characters(raw, REQUEST_BYTES - 2)), 2)


def _characters(raw: Mapping[str, Any], otherwise: int) -> int:
    """A character may take four bytes."""
    most = raw.get("maxLength")
    return otherwise if most is None else min(4 * max(int(most), 0), MOST)


def _limit(most: Any, otherwise: int) -> int:
    return otherwise if most is None else max(int(most), 0)
