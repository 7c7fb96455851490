"""MutatingAdmissionPolicies: objects changed by an applied configuration or a JSON patch that an expression makes."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.conditions import Unsettled
from services.apiserver.admission.environment import Environment
from services.apiserver.admission.matching import convert
from services.apiserver.admission.policies.definitions import Expression, Policy, compiled
from services.apiserver.admission.policies.invocations import Failure, Invocation, invocations, values
from services.apiserver.failures import named
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.errors import ApiError
from shared.objects import decoding, defaults, meta, patches
from shared.objects.cel import Budget, CelError
from shared.objects.cel.types import DYN, STRING, Type, object_of, type_of
from shared.objects.cel.values import Duration, Timestamp, UInt
from shared.objects.cel.values import type_of as type_name
from shared.objects.managed.merging import merged
from shared.objects.managed.shapes import Granular, Listed, Shape, shape_of
from shared.objects.registry import Resource

JSON_PATCH_TYPE = object_of("JSONPatch", {"op": STRING, "path": STRING, "from": STRING, "value": DYN})
TYPES: dict[str, Type] = {"Object": type_of(DYN), "JSONPatch": type_of(JSON_PATCH_TYPE)}
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change; `applies` tells an applied configuration from a JSON patch."""

    expression: Expression
    applies: bool


class Unusable(Exception):
    """What an expression made cannot be used; the text says why."""


def policy_of(policy: Object, bindings: Sequence[Object]) -> Policy:
    """A policy from its definition and its bindings."""
    return compiled(policy, bindings, _body, TYPES)


def mutate(
    store: Store, environment: Environment, policies: Sequence[Policy], asked: Attributes, only: set[Key] | None = None
) -> set[Key]:
    """Let policies change the object, one after the other; returns whom to apply again because of later changes.

    With `only`, those alone are applied (the second round). Forbidden or Invalid if one of them fails.
    """
    failures: list[Failure] = []
    again: set[Key] = set()
    applied: set[Key] = set()
    for invocation in list(invocations(store, policies, asked, failures)):
        if only is not None and invocation.key not in only:
            continue
        before = asked.object
        try:
            if not _apply(environment, invocation, asked):
                continue
        except (CelError, Unsettled, Unusable) as exc:
            failures.append(Failure(invocation.policy, invocation.binding, str(exc)))
            asked.object = before
            continue
        if asked.object != before:
            again |= applied
            applied = set()
        if invocation.policy.reinvoked:
            applied.add(invocation.key)
    serious = [one for one in failures if not one.policy.ignores_failure]
    if serious:
        raise _refusal(asked, serious)
    return again


def reinvoked(store: Store, policies: Sequence[Policy], asked: Attributes) -> set[Key]:
    """Everything that wants to be applied again when something else changed the object."""
    wanted = [one for one in policies if one.reinvoked]
    return {invocation.key for invocation in invocations(store, wanted, asked, [])}


def _apply(environment: Environment, invocation: Invocation, asked: Attributes) -> bool:
    """Apply all mutations of a policy; False if its conditions are not met or there is nothing to change."""
    policy, matched = invocation.policy, invocation.matched
    budget = Budget()
    for number, mutation in enumerate(policy.body):
        found = values(environment, invocation, asked) if number == 0 else environment.bindings(asked, matched)
        if found is None or asked.object is None:
            return False
        made = mutation.expression.evaluate(policy.scope(found, invocation.params, budget), budget)
        change = _configured if mutation.applies else _patched
        asked.object = change(asked, matched, made)
    return True


def _configured(asked: Attributes, matched: Resource, made: Any) -> Object:
    made = _plain(made)
    if not isinstance(made, dict):
        raise Unusable("invalid ApplyConfiguration: expression returned no object")
    shape = shape_of(matched.schema)
    _refuse_atomic(shape, made, "")
    shown = _shown(asked, matched)
    return _restored(asked, matched, meta.copy(merged(shape, shown, made)))


def _patched(asked: Attributes, matched: Resource, made: Any) -> Object:
    made = _plain(made)
    if not isinstance(made, list):
        raise Unusable("type mismatch: JSONPatch expression should evaluate to array")
    try:
        changed = patches.json_patch(_shown(asked, matched), made)
    except ApiError as exc:
        raise Unusable(f"JSON Patch: {exc.message}") from exc
    return _restored(asked, matched, changed)


def _shown(asked: Attributes, matched: Resource) -> Object:
    shown = convert(asked.object, asked.resource, matched) if not asked.subresource else asked.object
    assert shown is not None
    return shown


def _restored(asked: Attributes, matched: Resource, changed: Object) -> Object:
    """The changed object in canonical form, as the resource that was asked for shows it."""
    if asked.kind[2] != asked.resource.kind:
        return changed
    try:
        decoding.conform(matched.schema, changed)
    except ApiError as exc:
        raise Unusable(exc.message) from exc
    defaults.apply_defaults(matched, changed)
    back = changed if asked.subresource else convert(changed, matched, asked.resource)
    assert back is not None
    return back


def _plain(value: Any) -> Any:
    """What an expression made, as JSON has it; of its own, so that nothing is shared with what it was made from."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, UInt):
        return int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp | Duration):
        return str(value)
    raise Unusable(f"a value of type {type_name(value).name} has no place in an object")


def _refuse_atomic(shape: Shape, value: Any, path: str) -> None:
    """An applied configuration may not replace what has no parts: it could only take away what others put there."""
    if not isinstance(value, dict | list):
        return
    if shape.atomic:
        raise Unusable(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {path or '.'}")
    if isinstance(shape, Granular) and isinstance(value, dict):
        for name, part in value.items():
            member = shape.member(name)
            if member is not None:
                _refuse_atomic(member.shape, part, f"{path}.{name}")
    elif isinstance(shape, Listed) and isinstance(value, list):
        for index, part in enumerate(value):
            _refuse_atomic(shape.element, part, f"{path}[{index}]")


def _refusal(asked: Attributes, failures: Sequence[Failure]) -> ApiError:
    texts = [
        f"policy '{one.policy.name}' with binding '{one.binding.name}' denied request: {one.message}"
        for one in failures
    ]
    details = named(asked.resource.group, asked.resource.plural, asked.name)
    details["causes"] = [{"message": text} for text in texts]
    return ApiError(texts[0], code=403, reason="Invalid", details=details)


def _body(spec: Object, compile_: Callable[[str], Expression]) -> list[Mutation]:
    found = []
    for one in spec.get("mutations") or ():
        applies = one.get("patchType") == "ApplyConfiguration"
        source = one.get("applyConfiguration" if applies else "jsonPatch") or {}
        found.append(Mutation(compile_(source.get("expression", "")), applies))
    return found
