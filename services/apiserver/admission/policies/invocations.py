"""Which policies an operation meets: definition, binding and parameters together, in a fixed order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.environment import Environment
from services.apiserver.admission.matching import Operation
from services.apiserver.admission.policies.definitions import Binding, Policy
from services.apiserver.admission.policies.params import Misconfigured, params_of
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.objects.registry import Resource


@dataclass(frozen=True, slots=True)
class Invocation:
    """One policy under one binding with one parameter; `matched` is the resource it sees."""

    policy: Policy
    binding: Binding
    matched: Resource
    params: Object | None

    @property
    def key(self) -> tuple[str, str, str]:
        metadata = (self.params or {}).get("metadata") or {}
        return self.policy.name, self.binding.name, f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A policy that could not be applied, and why."""

    policy: Policy
    binding: Binding
    message: str


def invocations(
    store: Store, policies: Sequence[Policy], asked: Attributes, failures: list[Failure]
) -> Iterator[Invocation]:
    """Everything that applies, conditions aside; what is misconfigured is added to `failures`."""
    operation = Operation.of(asked)
    for policy in policies:
        matched = policy.matcher.resource_of(operation, asked.name)
        if matched is None or not policy.matcher.selects(asked, store):
            continue
        for binding in policy.bindings:
            if binding.matcher is not None and not _binds(binding, operation, asked, store):
                continue
            try:
                found = params_of(store, policy, binding, asked)
            except Misconfigured as exc:
                failures.append(Failure(policy, binding, f"failed to configure binding: {exc}"))
                continue
            for params in found:
                yield Invocation(policy, binding, matched, params)


def values(environment: Environment, invocation: Invocation, asked: Attributes) -> dict[str, Any] | None:
    """The bindings of one evaluation; None if the conditions are not met, Unsettled if that cannot be told."""
    made = environment.bindings(asked, invocation.matched)
    if invocation.policy.param_kind is not None:
        made["params"] = invocation.params
    return made if invocation.policy.conditions.hold(lambda: made) else None


def _binds(binding: Binding, operation: Operation, asked: Attributes, store: Store) -> bool:
    matcher = binding.matcher
    assert matcher is not None
    return matcher.covers(operation, asked.name) and matcher.selects(asked, store)
