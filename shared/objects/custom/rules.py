"""The rules of x-kubernetes-validations: compiled once a schema, run on whatever a request would store.

All rules of a request share one budget, so that neither many rules nor large objects can hold up the server.
Source: KEP-2876, KEP-4008; apiextensions-apiserver's pkg/apiserver/schema/cel/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.objects import cel
from shared.objects.cel import PER_CALL, Budget, BudgetError, CompilationError, EvaluationError, Program, types
from shared.objects.cel.parsing import children
from shared.objects.cel.syntax import Ident
from shared.objects.cel.syntax import Node as Tree
from shared.objects.cel.values import NONE, CelOptional
from shared.objects.custom.cel_types import to_cel, type_of
from shared.objects.custom.structural import MISSING, Node
from shared.objects.custom.values import correlated, join, type_name
from shared.objects.validation.causes import Cause

_WORDS = {
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
}
_MAX_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule; `failure` is why it could not be compiled."""

    raw: Mapping[str, Any]
    program: Program | None
    message: Program | None
    is_transition: bool
    optional_old: bool
    failure: str = ""


def compile_rule(node: Node, raw: Mapping[str, Any], *, root: bool) -> Rule:
    """Compile a rule of a schema; what is wrong with it is kept, not raised."""
    optional = bool(raw.get("optionalOldSelf"))
    kind = type_of(node, root=root)
    variables = {"self": kind, "oldSelf": types.optional_of(kind) if optional else kind}
    try:
        program = cel.compile(str(raw.get("rule") or ""), variables)
        message = cel.compile(raw["messageExpression"], variables) if raw.get("messageExpression") else None
    except CompilationError as exc:
        return Rule(raw, None, None, False, optional, str(exc))
    mentions = uses(program.tree, "oldSelf") or (message is not None and uses(message.tree, "oldSelf"))
    return Rule(raw, program, message, mentions and not optional, optional)


def uses(tree: Tree, name: str) -> bool:
    """Whether a name occurs in an expression."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Ident) and node.name == name:
            return True
        pending.extend(children(node))
    return False


def check(node: Node, obj: Mapping[str, Any], old: Any = MISSING) -> list[Cause]:
    """What the rules of a schema have against an object that would replace `old`."""
    if not node.has_rules:
        return []
    run = _Run()
    try:
        run.visit(node, obj, old, "", root=True)
    except BudgetError:
        text = "Invalid value: null: validation failed due to running out of cost budget, no further validation rules"
        run.found.append(Cause("FieldValueInvalid", f"{text} will be run", "<nil>"))
    return run.found


class _Run:
    def __init__(self) -> None:
        self.found: list[Cause] = []
        self.budget = Budget()

    def visit(self, node: Node, value: Any, old: Any, path: str, *, root: bool = False) -> None:
        if not node.has_rules or value is None:
            return
        if node.rules:
            self.apply(node, value, old, path, root=root)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, item in value.items():
                child = node.child(name)
                if child is not None and child.has_rules:
                    self.visit(child, item, before.get(name, MISSING), join(path, name))
        elif isinstance(value, list) and node.items is not None and node.items.has_rules:
            stood = correlated(node, old)
            for index, item in enumerate(value):
                self.visit(node.items, item, stood(item), f"{path}[{index}]")

    def apply(self, node: Node, value: Any, old: Any, path: str, *, root: bool) -> None:
        if node.programs is None:
            node.programs = [compile_rule(node, raw, root=root) for raw in node.rules]
        unchanged = old is not MISSING and old == value
        bindings: dict[str, Any] | None = None
        for rule in node.programs:
            if rule.program is None:
                self.complain(rule, value, path, f"rule compile error: {rule.failure}")
                continue
            if (rule.is_transition and old is MISSING) or (unchanged and not rule.is_transition):
                continue
            try:
                if bindings is None:
                    bindings = {"self": to_cel(node, value, root=root)}
                    if old is not MISSING and old is not None:
                        bindings["oldSelf"] = to_cel(node, old, root=root)
                self.evaluate(rule, bindings, value, path)
            except EvaluationError as exc:
                self.complain(rule, value, path, _explained(rule, str(exc)))

    def evaluate(self, rule: Rule, bindings: dict[str, Any], value: Any, path: str) -> None:
        assert rule.program is not None
        if rule.optional_old:
            held = CelOptional(True, bindings["oldSelf"]) if "oldSelf" in bindings else NONE
            bindings = bindings | {"oldSelf": held}
        try:
            outcome = self.spend(rule.program, bindings)
        except BudgetError:
            if self.budget.remaining <= 0:
                raise
            text = "no further validation rules will be run due to call cost exceeds limit for rule"
            self.complain(rule, value, path, f"'operation cancelled': {text}: {_named(rule)}")
            raise
        if outcome is not True:
            self.complain(rule, value, path, self.message(rule, bindings), rule.raw.get("reason") or "")

    def spend(self, program: Program, bindings: dict[str, Any]) -> Any:
        """Evaluate within what one call may cost and what is left for all."""
        share = Budget(min(PER_CALL, self.budget.remaining))
        share.deadline = self.budget.deadline
        before = share.remaining
        try:
            return program.evaluate(bindings, share)
        finally:
            self.budget.remaining -= before - share.remaining

    def message(self, rule: Rule, bindings: dict[str, Any]) -> str:
        if rule.message is not None:
            try:
                text = self.spend(rule.message, bindings)
            except EvaluationError:
                text = ""
            if isinstance(text, str) and text.strip() and "\n" not in text.strip() and len(text) <= _MAX_MESSAGE:
                return text.strip()
        given = str(rule.raw.get("message") or "").strip()
        return given or f"failed rule: {str(rule.raw.get('rule') or '').strip()}"

    def complain(self, rule: Rule, value: Any, path: str, text: str, reason: str = "") -> None:
        where = path + field_path(str(rule.raw.get("fieldPath") or ""))
        where = where.removeprefix(".") or "<nil>"
        kind = type_name(value)
        match reason:
            case "FieldValueRequired" | "FieldValueForbidden":
                shown = f"{_WORDS[reason]}: {text}"
            case "FieldValueDuplicate":
                shown = f'Duplicate value: "{kind}"'
            case _:
                reason, shown = "FieldValueInvalid", f'Invalid value: "{kind}": {text}'
        self.found.append(Cause(reason, shown, where))


def field_path(text: str) -> str:
    """A fieldPath such as .spec['a-b'] as messages write it: .spec.a-b for properties."""
    return re.sub(r"\['((?:[^'\\]|\\.)*)'\]", lambda match: "." + match[1].replace("\\'", "'"), text)


def _named(rule: Rule) -> str:
    return str(rule.raw.get("message") or rule.raw.get("rule") or "").strip()


def _explained(rule: Rule, why: str) -> str:
    if why.startswith("no such overload"):
        text = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{why}': {text}: {_named(rule)}"
    return f"{why} evaluating rule: {_named(rule)}"
