"""What the objects of a namespace take from a quota, counted from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from services.controllers.actions import Object
from shared.objects import quantities
from shared.objects.usage import amounts, counting
from shared.objects.usage.amounts import Amounts

Kind = tuple[str, str]
# kinds that count under other names than that of their number
MEASURED: tuple[Kind, ...] = (
    ("", "pods"),
    ("", "services"),
    ("", "persistentvolumeclaims"),
    ("resource.k8s.io", "resourceclaims"),
)
COUNT = "count/"


def status(quota: Object, contents: Mapping[Kind, Iterable[Object]], now: datetime) -> Object:
    """The status of a quota: its bounds, and for every bound that means something how much is used."""
    hard = {name: quantities.canonical(text) for name, text in amounts.texts(quota["spec"].get("hard")).items()}
    used: Amounts = {name: "0" for name in hard if _is_known(name)}
    for (group, plural), objects in contents.items():
        names = counting.tracked(group, plural, hard)
        if not names or not counting.counted(group, plural):
            continue
        for obj in objects:
            if counting.matches(group, plural, quota, names, obj):
                taken = counting.usage(group, plural, obj, now)
                used = used | amounts.total(amounts.only(used, taken), amounts.only(taken, names))
    return {"hard": hard, "used": amounts.only(used, hard)} if hard else {}


def same(one: Object, other: Object) -> bool:
    """Whether two states of a quota say the same; amounts may be written differently."""
    return all(_values(one.get(field)) == _values(other.get(field)) for field in ("hard", "used"))


def _values(listed: Mapping[str, object] | None) -> dict[str, object]:
    return {name: quantities.parse(text) for name, text in amounts.texts(listed).items()}


def _is_known(name: str) -> bool:
    if name.startswith(COUNT):
        return True
    if name in counting.ALIASES:
        return True
    return any(counting.tracked(group, plural, (name,)) for group, plural in MEASURED)
