"""Whether an applied configuration fits its type, in the words of structured-merge-diff.

Decoding would also find what is wrong, but an apply is refused earlier and differently: a field that the type does not
have is an error whatever `fieldValidation` says, and so is an element that a keyed list has twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shared.objects.managed import sets
from shared.objects.managed.shapes import Deduced, Granular, Listed, Scalar, Shape


def problems(shape: Shape, obj: Any) -> list[str]:
    """What is wrong with a configuration: messages like `.spec.nosuch: field not declared in schema`."""
    return [f"{path}: {text}" if path else text for path, text in _check(shape, obj, "")]


def joined(found: list[str]) -> str:
    """Several problems as one message."""
    return found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {one}" for one in found)])


Problems = Iterator[tuple[str, str]]


def _check(shape: Shape, value: Any, path: str) -> Problems:
    if value is None:
        return
    if isinstance(shape, Scalar):
        yield from _check_scalar(shape.expects, value, path)
    elif isinstance(shape, Granular):
        if not isinstance(value, dict):
            if isinstance(shape, Deduced):
                return
            yield path, f"expected map, got &{{{_shown(value)}}}"
            return
        for name, item in value.items():
            member = shape.member(name)
            if member is None:
                yield f"{path}.{name}", "field not declared in schema"
            else:
                yield from _check(member.shape, item, f"{path}.{name}")
    elif isinstance(shape, Listed):
        if not isinstance(value, list):
            yield path, f"expected list, got &{{{_shown(value)}}}"
            return
        yield from _check_list(shape, value, path)


def _check_list(shape: Listed, value: list[Any], path: str) -> Problems:
    seen: set[str] = set()
    for index, item in enumerate(value):
        where = f"[{index}]"
        if not shape.atomic:
            try:
                element = shape.path_element(item)
            except ValueError as exc:
                yield path, f"element {index}: {exc}"
                continue
            where = sets.element_text(element)
            if element in seen:
                yield path, f"duplicate entries for key {where}"
            seen.add(element)
        yield from _check(shape.element, item, path + where)


def _check_scalar(expects: str, value: Any, path: str) -> Problems:
    kind = _go_type(value)
    match expects:
        case "string" if kind != "string":
            yield path, f"expected string, got &value.valueUnstructured{{Value:{_shown(value)}}}"
        case "numeric" if kind not in ("int64", "float64"):
            yield path, f"expected numeric (int or float), got {kind}"
        case "boolean" if kind != "bool":
            yield path, f"expected boolean, got {kind}"
        case "scalar" if isinstance(value, dict | list):
            yield path, f"expected scalar, got {kind}"


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
