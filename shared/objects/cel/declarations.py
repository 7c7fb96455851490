"""Functions as libraries declare them: overloads with types for the checker, an implementation, and a cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.objects.cel.types import Type
from shared.objects.cel.values import CelOptional, Duration, Opaque, Timestamp, TypeValue, UInt

Implementation = Callable[..., Any]
Cost = Callable[..., int]

_RUNTIME: dict[str, type] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "uint": UInt,
    "double": float,
    "string": str,
    "bytes": bytes,
    "list": list,
    "map": dict,
    "timestamp": Timestamp,
    "duration": Duration,
    "optional_type": CelOptional,
    "type": TypeValue,
}


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One signature of a function; for a method the first parameter is the target.

    `cost` answers what a call costs from its arguments, in cel-go's units; a call costs at least 1.
    """

    function: str
    parameters: tuple[Type, ...]
    result: Type
    implementation: Implementation
    member: bool
    cost: Cost | None
    runtime: tuple[type | None, ...]
    """The Python types of the arguments; None takes any."""

    def takes(self, types: Sequence[type]) -> bool:
        return len(types) == len(self.runtime) and all(
            wanted is None or wanted is given or (given is not bool and given is not UInt and issubclass(given, wanted))
            for wanted, given in zip(self.runtime, types, strict=True)
        )


class Library:
    """A named set of functions."""

    def __init__(self) -> None:
        self.overloads: dict[str, list[Overload]] = {}
        self.opaque: dict[str, type] = {}

    def opaque_type(self, name: str, python: type[Opaque]) -> Type:
        """Declare a type that only functions understand."""
        self.opaque[name] = python
        return Type(name)

    def function(
        self,
        name: str,
        parameters: Sequence[Type],
        result: Type,
        implementation: Implementation,
        *,
        member: bool = False,
        cost: Cost | None = None,
    ) -> None:
        runtime = tuple(self._runtime(one) for one in parameters)
        overload = Overload(name, tuple(parameters), result, implementation, member, cost, runtime)
        self.overloads.setdefault(name, []).append(overload)

    def method(
        self,
        name: str,
        parameters: Sequence[Type],
        result: Type,
        implementation: Implementation,
        *,
        cost: Cost | None = None,
    ) -> None:
        self.function(name, parameters, result, implementation, member=True, cost=cost)

    def include(self, other: Library) -> None:
        for name, overloads in other.overloads.items():
            self.overloads.setdefault(name, []).extend(overloads)
        self.opaque.update(other.opaque)

    def _runtime(self, kind: Type) -> type | None:
        if kind.parameter:
            return None
        return self.opaque.get(kind.name) or _RUNTIME.get(kind.name)


def traversal(*positions: int, factor: float = 0.1) -> Cost:
    """The cost of reading the arguments at these positions once: a tenth of their length, at least 1."""

    def cost(*arguments: Any) -> int:
        return max(1, sum(int(size(arguments[one]) * factor) + 1 for one in positions))

    return cost


def whole(position: int) -> Cost:
    """The cost of visiting every element of an argument."""

    def cost(*arguments: Any) -> int:
        return max(1, size(arguments[position]))

    return cost


def size(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | dict) else 1
