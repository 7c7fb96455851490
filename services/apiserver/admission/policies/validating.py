"""ValidatingAdmissionPolicies: validations, what a violation is answered with, and warnings."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.apiserver.admission import instruments
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.conditions import Unsettled
from services.apiserver.admission.environment import Environment
from services.apiserver.admission.policies.definitions import Expression, Policy, compiled
from services.apiserver.admission.policies.invocations import Failure, Invocation, invocations, values
from services.apiserver.failures import named, qualified
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.errors import ApiError
from shared.objects import json
from shared.objects.cel import Budget, CelError

log = logging.getLogger(__name__)

CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}
INVALID, UNPROCESSABLE = "Invalid", 422
AUDITED = "validation.policy.admission.k8s.io/validation_failure"
LONGEST_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True)
class Validation:
    """One rule of a policy."""

    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


@dataclass(frozen=True, slots=True)
class AuditAnnotation:
    """A value that a policy wants to be noted."""

    key: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Violation:
    """What a policy denies, and why; `binding` is empty when the policy itself is at fault."""

    policy: str
    binding: str
    message: str
    reason: str = INVALID

    def __str__(self) -> str:
        with_binding = f" with binding '{self.binding}'" if self.binding else ""
        return f"ValidatingAdmissionPolicy '{self.policy}'{with_binding} denied request: {self.message}"


def policy_of(policy: Object, bindings: Sequence[Object]) -> Policy:
    """A policy from its definition and its bindings."""
    return compiled(policy, bindings, _body)


def validate(store: Store, environment: Environment, policies: Sequence[Policy], asked: Attributes) -> None:
    """Apply all policies; the first violation that a binding denies is raised, those it warns about become warnings."""
    failures: list[Failure] = []
    denied: list[Violation] = []
    audited: list[Object] = []
    for invocation in invocations(store, policies, asked, failures):
        policy, binding = invocation.policy, invocation.binding
        for index, message, reason in _violations(environment, invocation, asked):
            for action in binding.actions:
                instruments.CHECKS.labels(policy.name, binding.name, action.lower()).inc()
            if "Deny" in binding.actions:
                denied.append(Violation(policy.name, binding.name, message, reason))
            if "Warn" in binding.actions:
                asked.request.warnings.append(
                    f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': "
                    f"{message}"
                )
            if "Audit" in binding.actions:
                audited.append(
                    {
                        "message": message,
                        "policy": policy.name,
                        "binding": binding.name,
                        "expressionIndex": index,
                        "validationActions": list(binding.actions),
                    }
                )
    if audited:
        asked.request.note(AUDITED, json.encode(audited).decode())
    misconfigured = [
        Violation(one.policy.name, one.binding.name, one.message) for one in failures if not one.policy.ignores_failure
    ]
    if misconfigured or denied:
        raise _refusal(asked, [*misconfigured, *denied][0])


def _violations(environment: Environment, invocation: Invocation, asked: Attributes) -> Iterator[tuple[int, str, str]]:
    """Index, message and reason of every validation that does not hold."""
    policy = invocation.policy
    budget = Budget()
    try:
        found = values(environment, invocation, asked)
    except Unsettled as exc:
        yield 0, str(exc), INVALID
        return
    if found is None:
        return
    scope = policy.scope(found, invocation.params, budget)
    for index, rule in enumerate(policy.body):
        try:
            if isinstance(rule, AuditAnnotation):
                value = rule.value.evaluate(scope, budget)
                if value:
                    asked.request.note(f"{policy.name}/{rule.key}", str(value))
                continue
            if rule.expression.evaluate(scope, budget) is True:
                continue
        except CelError as exc:
            if not policy.ignores_failure:
                yield index, str(exc), INVALID
            continue
        yield index, _message(rule, scope, budget), rule.reason


def _message(rule: Validation, scope: dict[str, Any], budget: Budget) -> str:
    if rule.message_expression is not None:
        # who asks for permissions may not be told to clients, so messages do without the authorizer
        without = {name: value for name, value in scope.items() if name != "authorizer"}
        try:
            made = rule.message_expression.evaluate(without, budget)
        except CelError as exc:
            log.info("message expression of a policy: %s", exc)
            made = ""
        if isinstance(made, str) and (text := made.strip()) and len(text) <= LONGEST_MESSAGE and "\n" not in text:
            return text
    return rule.message.strip() or f"failed expression: {rule.expression.text}"


def _refusal(asked: Attributes, violation: Violation) -> ApiError:
    resource, message = asked.resource, str(violation)
    subject = qualified(resource.group, resource.plural)
    head = f'{subject} "{asked.name}"' if asked.name else subject
    details = named(resource.group, resource.plural, asked.name) | {"causes": [{"message": message}]}
    code = CODES.get(violation.reason, UNPROCESSABLE)
    return ApiError(f"{head} is forbidden: {message}", code=code, reason=violation.reason, details=details)


def _body(spec: Object, compile_: Callable[[str], Expression]) -> list[Validation | AuditAnnotation]:
    found: list[Validation | AuditAnnotation] = []
    for one in spec.get("validations") or ():
        text = one.get("messageExpression") or ""
        found.append(
            Validation(
                compile_(one.get("expression", "")),
                one.get("message") or "",
                compile_(text) if text.strip() else None,
                one.get("reason") or INVALID,
            )
        )
    annotations = spec.get("auditAnnotations") or ()
    found += [AuditAnnotation(one.get("key", ""), compile_(one.get("valueExpression", ""))) for one in annotations]
    return found
