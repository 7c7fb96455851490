"""Webhooks and policies are refused whose expressions do not compile: their author is told at once, not their users."""

from collections.abc import Iterator, Mapping, Sequence

from services.apiserver.admission import environment
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.matching import GROUP
from services.apiserver.admission.policies.mutating import TYPES
from services.apiserver.failures import invalid
from services.apiserver.protocol import Object
from shared.objects import cel
from shared.objects.cel import CompilationError
from shared.objects.cel.types import DYN, Type, object_of
from shared.objects.validation import Cause

WEBHOOKS = frozenset({(GROUP, "mutatingwebhookconfigurations"), (GROUP, "validatingwebhookconfigurations")})
POLICIES = frozenset({(GROUP, "mutatingadmissionpolicies"), (GROUP, "validatingadmissionpolicies")})
BOOLEAN, TEXT = ("bool",), ("string",)
OPTIONAL_TEXT = ("string", "null")


def check(asked: Attributes) -> None:
    """Invalid, with every expression that is wrong; on updates only with those that were not there before."""
    if asked.operation not in (CREATE, UPDATE) or asked.subresource:
        return
    if asked.key in WEBHOOKS:
        found = list(_webhooks(asked.current))
        known = list(_webhooks(asked.old)) if asked.old is not None and found else []
    elif asked.key in POLICIES:
        found = list(_policy(asked.current))
        known = list(_policy(asked.old)) if asked.old is not None and found else []
    else:
        return
    causes = [one for one in found if one not in known]
    if causes:
        raise invalid(asked.resource.group, asked.resource.kind, asked.name, causes)


def _webhooks(obj: Object) -> Iterator[Cause]:
    for index, hook in enumerate(obj.get("webhooks") or ()):
        yield from _conditions(f"webhooks[{index}]", hook.get("matchConditions") or (), environment.WEBHOOK)


def _policy(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    declared: dict[str, Type] = {**environment.POLICY, **(TYPES if spec.get("mutations") else {})}
    if spec.get("paramKind"):
        declared["params"] = DYN
    yield from _conditions("spec", spec.get("matchConditions") or (), declared)
    known: dict[str, Type] = {}
    for index, variable in enumerate(spec.get("variables") or ()):
        with_earlier = declared | {"variables": object_of("kubernetes.variables", dict(known))}
        at = f"spec.variables[{index}].expression"
        kind, causes = _compile(at, variable.get("expression") or "", with_earlier)
        yield from causes
        known[variable.get("name", "")] = kind
    declared["variables"] = object_of("kubernetes.variables", known)
    for index, one in enumerate(spec.get("validations") or ()):
        at = f"spec.validations[{index}]"
        yield from _checked(f"{at}.expression", one.get("expression"), declared, BOOLEAN)
        yield from _checked(f"{at}.messageExpression", one.get("messageExpression"), declared, TEXT)
    for index, one in enumerate(spec.get("auditAnnotations") or ()):
        at = f"spec.auditAnnotations[{index}].valueExpression"
        yield from _checked(at, one.get("valueExpression"), declared, OPTIONAL_TEXT)
    for index, one in enumerate(spec.get("mutations") or ()):
        for name in ("applyConfiguration", "jsonPatch"):
            at = f"spec.mutations[{index}].{name}.expression"
            yield from _checked(at, (one.get(name) or {}).get("expression"), declared, ())


def _conditions(at: str, conditions: Sequence[Object], declared: Mapping[str, Type]) -> Iterator[Cause]:
    for index, one in enumerate(conditions):
        yield from _checked(f"{at}.matchConditions[{index}].expression", one.get("expression"), declared, BOOLEAN)


def _checked(at: str, text: str | None, declared: Mapping[str, Type], results: Sequence[str]) -> Iterator[Cause]:
    if not (text or "").strip():
        return
    assert text is not None
    kind, causes = _compile(at, text, declared)
    yield from causes
    if not causes and results and kind.name not in (*results, "dyn"):
        yield _wrong(at, text, f"must evaluate to {' or '.join(results)}")


def _compile(at: str, text: str, declared: Mapping[str, Type]) -> tuple[Type, list[Cause]]:
    try:
        return cel.compile(text, declared).type, []
    except CompilationError as exc:
        return DYN, [_wrong(at, text, f"compilation failed: {exc}")]


def _wrong(at: str, text: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{text}": {why}', at)
