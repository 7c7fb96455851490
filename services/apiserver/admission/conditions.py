"""Match conditions: expressions that all must hold for a webhook or a policy to apply (KEP-3716)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.apiserver.protocol import Object
from shared.objects import cel
from shared.objects.cel import Budget, CelError, CompilationError, EvaluationError, Program

Bindings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """A named expression; `broken` is what is wrong with it if it does not compile."""

    name: str
    program: Program | None
    broken: str = ""


class Unsettled(Exception):
    """A condition could neither be met nor ruled out; the text says why."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Compiled conditions; with `ignores_failure` one that fails means: does not apply."""

    listed: tuple[Condition, ...]
    ignores_failure: bool

    @classmethod
    def of(cls, listed: Sequence[Object], variables: Mapping[str, cel.Type], *, ignores_failure: bool) -> "Conditions":
        return cls(tuple(_compiled(one, variables) for one in listed), ignores_failure)

    def hold(self, bindings: Callable[[], Bindings]) -> bool:
        """Whether all hold. Unsettled if none is false but one failed, unless that is to be ignored."""
        if not self.listed:
            return True
        values, budget, failures = bindings(), Budget(), []
        for condition in self.listed:
            try:
                if condition.program is None:
                    raise EvaluationError(condition.broken)
                if condition.program.evaluate(values, budget) is not True:
                    return False
            except CelError as exc:
                failures.append(str(exc))
        if failures and not self.ignores_failure:
            raise Unsettled(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
        return not failures


def _compiled(condition: Object, variables: Mapping[str, cel.Type]) -> Condition:
    name = condition.get("name", "")
    try:
        return Condition(name, cel.compile(condition.get("expression", ""), variables))
    except CompilationError as exc:
        return Condition(name, None, f"compilation failed: {exc}")
