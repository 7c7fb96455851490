"""Whether the rules of a schema can be run: each compiles, results in a truth value, and finds what it compares with.

Source: apiextensions-apiserver's pkg/apis/apiextensions/validation and pkg/apiserver/schema/cel/compilation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.objects.custom.rules import Rule, compile_rule, uses
from shared.objects.custom.structural import Node
from shared.objects.validation.causes import Cause, forbidden, invalid, required, unsupported

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LONGEST_MESSAGE = 2048


def validate(node: Node, path: str) -> list[Cause]:
    """What is wrong with the rules in a structural schema at `path`."""
    return list(_visit(node, path, "", root=True)) if node.has_rules else []


def _visit(node: Node, path: str, uncorrelated: str, *, root: bool = False) -> Iterator[Cause]:
    """`uncorrelated` is the path of the list around that has no way to tell which element was which before."""
    if not node.has_rules:
        return
    for index, raw in enumerate(node.rules):
        yield from _rule(node, raw, f"{path}.x-kubernetes-validations[{index}]", uncorrelated, root=root)
    for name, child in node.properties.items():
        yield from _visit(child, f"{path}.properties[{name}]", uncorrelated)
    if node.additional is not None:
        yield from _visit(node.additional, f"{path}.additionalProperties", uncorrelated)
    if node.items is not None:
        lost = uncorrelated or (path if node.list_type != "map" else "")
        yield from _visit(node.items, f"{path}.items", lost)


def _rule(node: Node, raw: Mapping[str, Any], path: str, uncorrelated: str, *, root: bool) -> Iterator[Cause]:
    text = str(raw.get("rule") or "").strip()
    if not text:
        yield required(f"{path}.rule", "rule is not specified")
        return
    message = raw.get("message")
    if message is not None:
        yield from _message(str(message), text, f"{path}.message")
    elif "\n" in text and not raw.get("messageExpression"):
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    if raw.get("messageExpression") is not None and not str(raw["messageExpression"]).strip():
        yield required(f"{path}.messageExpression", "must be non-empty if specified")
    if raw.get("reason") and raw["reason"] not in _REASONS:
        yield unsupported(f"{path}.reason", raw["reason"], _REASONS)
    if raw.get("fieldPath"):
        yield from _field_path(node, str(raw["fieldPath"]), f"{path}.fieldPath")
    compiled = compile_rule(node, raw, root=root)
    yield from _program(compiled, raw, path, uncorrelated)


def _message(message: str, rule: str, path: str) -> Iterator[Cause]:
    if not message.strip():
        yield invalid(path, message, "message must be non-empty if specified")
    elif "\n" in message:
        yield invalid(path, message, "message must not contain line breaks")
    elif len(message) > _LONGEST_MESSAGE:
        yield invalid(
            path, message[:10] + "...", f"message must have a maximum length of {_LONGEST_MESSAGE} characters"
        )


def _program(compiled: Rule, raw: Mapping[str, Any], path: str, uncorrelated: str) -> Iterator[Cause]:
    if compiled.program is None:
        yield Cause(
            "FieldValueInvalid",
            f"Invalid value: {_described(raw)}: compilation failed: {compiled.failure}",
            f"{path}.rule",
        )
        return
    if compiled.program.type.name not in ("bool", "dyn"):
        yield Cause(
            "FieldValueInvalid",
            f"Invalid value: {_described(raw)}: cel expression must evaluate to a bool",
            f"{path}.rule",
        )
    if compiled.message is not None and compiled.message.type.name not in ("string", "dyn"):
        text = "messageExpression must evaluate to a string"
        yield Cause("FieldValueInvalid", f"Invalid value: {_described(raw)}: {text}", f"{path}.messageExpression")
    mentions = uses(compiled.program.tree, "oldSelf")
    if uncorrelated and mentions and not compiled.optional_old:
        where = uncorrelated.partition("openAPIV3Schema")[2].lstrip(".") or "the schema"
        text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {where}"
        yield invalid(f"{path}.rule", str(raw.get("rule")), text)
    if compiled.optional_old and not mentions:
        yield invalid(f"{path}.optionalOldSelf", True, "may not be set if oldSelf is not used in rule")


def _described(raw: Mapping[str, Any]) -> str:
    return f'"{raw.get("rule")}"'


def _field_path(node: Node, text: str, path: str) -> Iterator[Cause]:
    """A fieldPath names a property below the rule, as .a.b or .a['b-c']; list elements have no constant name."""
    at, current = 0, node
    if text[:1] not in (".", "["):
        yield invalid(path, text, "fieldPath must be a valid path: expected [ or .")
        return
    while at < len(text):
        if text[at] == ".":
            end = min((one for one in (text.find(".", at + 1), text.find("[", at + 1)) if one >= 0), default=len(text))
            name, at = text[at + 1 : end], end
        elif text.startswith("['", at) and (end := text.find("']", at)) > 0:
            name, at = text[at + 2 : end], end + 2
        else:
            yield invalid(path, text, "fieldPath must be a valid path: expected [ or .")
            return
        child = current.child(name)
        if child is None:
            yield invalid(path, text, f"fieldPath must be a valid path: does not refer to a valid field: {name}")
            return
        current = child
    if current is node:
        yield forbidden(path, "must not be empty")
