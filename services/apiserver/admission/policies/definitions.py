"""A policy with its bindings, compiled once: conditions, variables, and what it does (validate or mutate).

Whatever does not compile is kept as a failure, which the policy's failurePolicy decides over when a request meets it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.apiserver.admission import environment
from services.apiserver.admission.conditions import Conditions
from services.apiserver.admission.matching import Matcher
from services.apiserver.protocol import Object
from shared.objects import cel
from shared.objects.cel import Budget, CelError, CompilationError, Lazy, LazyMap, Program
from shared.objects.cel.types import DYN, Type, object_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; `program` is None if it does not compile, `broken` then says why."""

    text: str
    program: Program | None
    broken: str = ""

    def evaluate(self, bindings: Mapping[str, Any], budget: Budget) -> Any:
        """The value; CelError if it fails, worded with the expression."""
        if self.program is None:
            raise CelError(f"expression '{self.text}' resulted in error: {self.broken}")
        try:
            return self.program.evaluate(bindings, budget)
        except CelError as exc:
            raise CelError(f"expression '{self.text}' resulted in error: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a policy applies, with which parameters, and what follows from a violation."""

    name: str
    matcher: Matcher | None
    reference: Object | None
    actions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """What policies of both kinds have in common; `body` is what this one does."""

    name: str
    matcher: Matcher
    conditions: Conditions
    variables: Sequence[tuple[str, Expression]]
    param_kind: Object | None
    ignores_failure: bool
    reinvoked: bool
    bindings: Sequence[Binding]
    body: Sequence[Any]

    def scope(self, values: Mapping[str, Any], params: Object | None, budget: Budget) -> dict[str, Any]:
        """All variables of one evaluation; those of the policy are computed when they are used."""
        scope = dict(values)
        if self.param_kind is not None:
            scope["params"] = params
        named: dict[str, Any] = LazyMap()
        scope["variables"] = named
        for name, expression in self.variables:
            named[name] = Lazy(lambda expression=expression: expression.evaluate(scope, budget))  # type: ignore[misc]
        return scope


def compiled(
    policy: Object,
    bindings: Sequence[Object],
    body: Callable[[Object, Callable[[str], Expression]], Sequence[Any]],
    types: Mapping[str, Type] = environment.NO_TYPES,
) -> Policy:
    """A policy ready for use; `body` compiles what it does with the function it is given."""
    spec = policy.get("spec") or {}
    declared: dict[str, Type] = {**environment.POLICY, **types}
    if spec.get("paramKind"):
        declared["params"] = DYN
    ignores = spec.get("failurePolicy") == "Ignore"
    conditions = Conditions.of(spec.get("matchConditions") or (), declared, ignores_failure=ignores)
    variables: list[tuple[str, Expression]] = []
    known: dict[str, Type] = {}
    for variable in spec.get("variables") or ():
        with_earlier = {**declared, "variables": object_of("kubernetes.variables", dict(known))}
        expression = expression_of(variable.get("expression", ""), with_earlier)
        variables.append((variable["name"], expression))
        known[variable["name"]] = expression.program.type if expression.program is not None else DYN
    everything = {**declared, "variables": object_of("kubernetes.variables", known)}
    return Policy(
        name=policy["metadata"]["name"],
        matcher=Matcher.of(spec.get("matchConstraints") or {}, "resourceRules"),
        conditions=conditions,
        variables=variables,
        param_kind=spec.get("paramKind"),
        ignores_failure=ignores,
        reinvoked=spec.get("reinvocationPolicy") == "IfNeeded",
        bindings=[_binding(one) for one in bindings],
        body=body(spec, lambda text: expression_of(text, everything)),
    )


def expression_of(text: str, variables: Mapping[str, Type]) -> Expression:
    """Compile an expression."""
    try:
        return Expression(text.strip(), cel.compile(text, variables))
    except CompilationError as exc:
        return Expression(text.strip(), None, f"compilation error: compilation failed: {exc}")


def _binding(binding: Object) -> Binding:
    spec = binding.get("spec") or {}
    match = spec.get("matchResources")
    return Binding(
        binding["metadata"]["name"],
        Matcher.of(match, "resourceRules") if match is not None else None,
        spec.get("paramRef"),
        tuple(spec.get("validationActions") or ()),
    )
