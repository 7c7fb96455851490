"""The JSONPath of printer columns, in kubectl's dialect: .a.b, ['a-b'], [0], [-1], [*], .*, ..a and [?(@.x=="y")].

Source: client-go's util/jsonpath, as far as a column can use it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

Step = Callable[[list[Any]], list[Any]]

_PART = re.compile(
    r"""\.\.(?P<deep>[A-Za-z0-9_\-]+)
    |\.(?P<all>\*)
    |\.?(?P<name>(?:[A-Za-z0-9_\-/]|\\.)+)
    |\[(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]
    |\[(?P<slice>-?\d*:-?\d*(?::-?\d*)?)\]
    |\[(?P<union>-?\d+(?:,-?\d+)*)\]
    |\[(?P<every>\*)\]
    |\[\?\((?P<filter>.+?)\)\]""",
    re.VERBOSE,
)
_FILTER = re.compile(r"\s*(?P<left>@[^=!<>\s]*)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<right>.+?))?\s*")


def find(path: str, value: Any) -> list[Any]:
    """Everything a path leads to in a value, in order; ValueError if the path is malformed."""
    found = [value]
    for step in _steps(path):
        found = step(found)
    return found


@functools.lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[Step, ...]:
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    if text == ".":
        return ()
    steps = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or (match["name"] and text[at] != "." and at > 0):
            raise ValueError(f"json path {path!r} is malformed at {text[at:]!r}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["deep"]:
        name = match["deep"]
        return lambda values: [item[name] for item in _descend(values) if isinstance(item, dict) and name in item]
    if match["all"] or match["every"]:
        return _children
    if match["union"]:
        positions = [int(one) for one in match["union"].split(",")]
        return lambda values: [
            item[at] for item in values if isinstance(item, list) for at in positions if -len(item) <= at < len(item)
        ]
    if match["slice"]:
        bounds = slice(*(int(one) if one else None for one in match["slice"].split(":")))
        return lambda values: [one for item in values if isinstance(item, list) for one in item[bounds]]
    if match["filter"]:
        return _filter(match["filter"])
    name = re.sub(r"\\(.)", r"\1", match["quoted"][1:-1] if match["quoted"] else match["name"])
    return lambda values: [item[name] for item in values if isinstance(item, dict) and name in item]


def _children(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in values:
        if isinstance(item, dict):
            found.extend(item.values())
        elif isinstance(item, list):
            found.extend(item)
    return found


def _descend(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for item in values:
        found.append(item)
        found.extend(_descend(_children([item])))
    return found


def _filter(text: str) -> Step:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ValueError(f"json path filter {text!r} is malformed")
    left = match["left"].removeprefix("@")
    operator, right = match["operator"], match["right"]
    wanted = _operand(right) if right is not None else None

    def keeps(item: Any) -> bool:
        found = find(left, item) if left else [item]
        if operator is None:
            return bool(found)
        return bool(found) and _compare(operator, found[0], wanted)

    def step(values: list[Any]) -> list[Any]:
        return [one for item in values if isinstance(item, list) for one in item if keeps(one)]

    if left:
        _steps(left)
    return step


def _operand(text: str) -> Any:
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as exc:
        raise ValueError(f"json path operand {text!r} is neither a text nor a number") from exc


def _compare(operator: str, left: Any, right: Any) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return operator == "!="
    comparable = isinstance(left, type(right)) or (isinstance(left, int | float) and isinstance(right, int | float))
    match operator:
        case "==":
            return bool(left == right)
        case "!=":
            return bool(left != right)
    if not comparable:
        return False
    less, equal = bool(left < right), bool(left == right)
    return {"<": less, "<=": less or equal, ">": not less and not equal, ">=": not less}[operator]
