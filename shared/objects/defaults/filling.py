"""The walk over an object that fills in what is missing: values from the table, then the rules of the struct."""

from __future__ import annotations

from shared.objects import schema
from shared.objects.decoding import REPEATED
from shared.objects.defaults import cluster, definitions, pods, workloads
from shared.objects.defaults.rules import Object, Rule
from shared.objects.registry import Resource
from shared.objects.repetition import pack, remembered, unpack
from shared.objects.schema import Field, Struct

RULES: dict[str, Rule] = {**cluster.RULES, **definitions.RULES, **pods.RULES, **workloads.RULES}


def apply_defaults(resource: Resource, obj: Object) -> None:
    """Fill in the defaults of an object's kind, in place; applying them twice changes nothing."""
    fill(resource.schema, obj)


def fill(struct: Struct, obj: Object) -> None:
    """As `apply_defaults`, for any struct, such as a pod template or a TokenRequest."""
    if struct.custom is not None:
        struct.custom.fill(obj)
        return
    plan = _plan(struct)
    if plan is not None:
        plan(obj)


@schema.planned
def _plan(struct: Struct) -> Rule | None:
    """What to do to an object of that type; None if neither it nor anything in it has defaults."""
    if not _has_defaults(struct):
        return None
    values = [(field.name, field.default) for field in struct.fields.values() if _is_filled(field)]
    rule = RULES.get(f"{struct.package}.{struct.name}")
    children: list[tuple[str, bool, str, Struct]] = []
    for field in struct.fields.values():
        inner = field.struct
        if inner is not None and _has_defaults(inner):
            children.append((field.name, field.always, field.container, inner))

    def apply(obj: Object) -> None:
        for name, value in values:
            if name not in obj:
                obj[name] = value if type(value) is not dict else {}
        if rule is not None:
            rule(obj)
        for name, always, container, inner in children:
            item = obj.get(name)
            if item is None:
                if not always or container:
                    continue
                item = obj[name] = {}
            plan = _repeated(inner) if inner.name in REPEATED else _plan(inner)
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


@schema.planned
def _repeated(struct: Struct) -> Rule:
    def apply(obj: Object) -> None:
        filled = unpack(_filled(struct, obj))
        obj.clear()
        obj.update(filled)

    return apply


@remembered
def _filled(struct: Struct, obj: Object) -> bytes:
    plan = _plan(struct)
    assert plan is not None
    plan(obj)
    return pack(obj)


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
