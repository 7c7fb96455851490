"""The walk over an object that fills in what is missing: values from the table, then the rules of the struct."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.objects import schema
from shared.objects.decoding import REPEATED
from shared.objects.defaults import cluster, definitions, pods, workloads
from shared.objects.defaults.rules import Object, Rule
from shared.objects.registry import Resource
from shared.objects.repetition import pack, remembered, unpack
from shared.objects.schema import Field, Struct

Plan = Callable[..., None]
RULES: dict[str, Rule] = {**cluster.RULES, **definitions.RULES, **pods.RULES, **workloads.RULES}


def apply_defaults(resource: Resource, obj: Object, settled: Sequence[str] = ()) -> None:
    """Fill in the defaults of an object's kind, in place; applying them twice changes nothing.

    Fields named by `settled` are left alone: they are taken from an object that has its defaults.
    """
    fill(resource.schema, obj, settled)


def fill(struct: Struct, obj: Object, settled: Sequence[str] = ()) -> None:
    """As `apply_defaults`, for any struct, such as a pod template or a TokenRequest."""
    if struct.custom is not None:
        struct.custom.fill(obj)
        return
    plan = _plan(struct)
    if plan is not None:
        plan(obj, settled)


@schema.planned
def _plan(struct: Struct) -> Plan | None:
    """What to do to an object of that type; None if neither it nor anything in it has defaults."""
    if not _has_defaults(struct):
        return None
    values = [(field.name, field.default) for field in struct.fields.values() if _is_filled(field)]
    rule = RULES.get(f"{struct.package}.{struct.name}")
    children: list[tuple[str, bool, str, Struct]] = []
    repeated = ""
    for field in struct.fields.values():
        inner = field.struct
        if inner is None or not _has_defaults(inner):
            continue
        if inner.name in REPEATED and not field.container:
            repeated = field.name
            spec = (struct, field.name)
            needed = field.always or rule is not None
        else:
            children.append((field.name, field.always, field.container, inner))

    def apply(obj: Object, settled: Sequence[str] = ()) -> None:
        for name, value in values:
            if name not in obj:
                obj[name] = value if type(value) is not dict else {}
        if repeated:
            item = obj.get(repeated)
            if item is not None or needed:
                filled = _filled(spec, item or {})
                if filled is not None:
                    obj[repeated] = unpack(filled)
        elif rule is not None:
            rule(obj)
        for name, always, container, inner in children:
            if name in settled:
                continue
            item = obj.get(name)
            if item is None:
                if not always or container:
                    continue
                item = obj[name] = {}
            plan = _plan(inner)
            assert plan is not None
            if container == "list":
                for element in item:
                    plan(element)
            elif container == "map":
                for element in item.values():
                    plan(element)
            else:
                plan(item)

    return apply


@remembered
def _filled(spec: tuple[Struct, str], given: Object) -> bytes | None:
    """The spec in a field of a struct with its defaults, None if it has them all: then it is left alone, and may be
    shared with the object that it came from. The rules of what holds a spec look at nothing but the spec."""
    owner, name = spec
    before = pack(given)
    holder = {name: unpack(before)}
    rule = RULES.get(f"{owner.package}.{owner.name}")
    if rule is not None:
        rule(holder)
    inner = owner.fields[name].struct
    plan = None if inner is None else _plan(inner)
    assert plan is not None
    plan(holder[name])
    after = pack(holder[name])
    # an empty spec is put in its place even if nothing is filled in
    return None if after == before and given else after


@schema.planned
def _has_defaults(struct: Struct) -> bool:
    seen: set[Struct] = set()
    waiting = [struct]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        if f"{current.package}.{current.name}" in RULES or any(_is_filled(field) for field in current.fields.values()):
            return True
        waiting.extend(inner for field in current.fields.values() if (inner := field.struct) is not None)
    return False


def _is_filled(field: Field) -> bool:
    """Whether the default is ever seen: the zero of a field that is left out when zero is not."""
    return field.default is not None and (field.pointer or bool(field.default) or field.default == {})
