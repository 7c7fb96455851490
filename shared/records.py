"""Records: what `dataclasses` offers, as far as the keeper and the OCI runtime need it, without its price.

Importing `dataclasses` brings inspect, ast and dis, and compiles source text for every class: much of what a command of
`wherry-runtime` took to begin, and megabytes of pages for every fork of the keeper to copy. Type checkers see a
dataclass (PEP 681); here a class only gets generic methods. Instances have slots and no `__dict__`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_options):
        return lambda function: function


class Factory:
    """A default that is made for each instance."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """A field whose default is what `default_factory()` returns."""
    return Factory(default_factory)


class _Required:
    """Stands where there is no default."""


class _Record:
    """The methods of every record; `record_fields` maps names to defaults."""

    __slots__ = ()
    record_fields: Mapping[str, Any] = {}

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.record_fields
        put = object.__setattr__
        names = iter(fields)
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} fields, not {len(values)}")
        for value, name in zip(values, names, strict=False):
            if name in named:
                raise TypeError(f"{type(self).__name__} got field {name!r} twice")
            put(self, name, value)
        for name in names:  # those that are left
            if name in named:
                put(self, name, named.pop(name))
                continue
            default = fields[name]
            if default is _Required:
                raise TypeError(f"{type(self).__name__} lacks field {name!r}")
            put(self, name, default.make() if type(default) is Factory else default)
        if named:
            raise TypeError(f"{type(self).__name__} has no field {next(iter(named))!r}")

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.record_fields])

    def __eq__(self, other: object) -> bool:
        return other.__class__ is self.__class__ and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.record_fields)
        return f"{type(self).__qualname__}({shown})"


class _MutableRecord(_Record):
    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]


class _FrozenRecord(_Record):
    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete field {name!r}")


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T]) -> type[T]:
    """A class whose annotations become fields. Equal if of the same class with equal fields."""
    made: type[T] = _made(cls, _MutableRecord)
    return made


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """As `mutable`, but its fields cannot be changed, and it can be a key."""
    made: type[T] = _made(cls, _FrozenRecord)
    return made


def _made(cls: Any, base: type) -> Any:
    space = dict(cls.__dict__)
    own = {name: space.pop(name, _Required) for name in space.get("__annotations__", {})}
    inherited: Mapping[str, Any] = getattr(cls, "record_fields", {})
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    space["__slots__"] = tuple(name for name in own if name not in inherited)
    space["record_fields"] = fields = {**inherited, **own}
    space["__match_args__"] = tuple(fields)
    bases = cls.__bases__ if cls.__bases__ != (object,) else (base,)
    made = type(cls)(cls.__name__, bases, space)
    made.__qualname__ = cls.__qualname__
    return made


def field_names(kind: Any) -> tuple[str, ...]:
    """The fields of a record's class, in their order."""
    return tuple(kind.record_fields)


def as_dict(value: Any) -> dict[str, Any]:
    """A record's fields by name; what they hold is shared, not copied."""
    return {name: getattr(value, name) for name in value.record_fields}
