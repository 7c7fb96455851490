"""What differs between two revisions of an object, as paths and values: pure, so that tests can be exact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

# list items are told apart by one of these, as people do; otherwise by position
_KEYS = ("name", "type", "containerPort", "port", "ip", "uid", "key")
_NOISE = (("metadata", "managedFields"), ("metadata", "resourceVersion"))
_LONGEST = 60

Path = tuple[str, ...]


class Difference(NamedTuple):
    """One place; `old` or `new` is None where nothing was or is."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.path}: + {_short(self.new)}"
        if self.new is None:
            return f"{self.path}: - {_short(self.old)}"
        return f"{self.path}: {_short(self.old)} -> {_short(self.new)}"


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    """The places where two objects differ, apart from managedFields and resourceVersion, in the order of the paths."""
    return list(_walk((), old, new))


def bare(obj: dict[str, Any]) -> dict[str, Any]:
    """An object without managedFields and resourceVersion, for comparison by eye."""
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if ("metadata", key) not in _NOISE}
    return {**obj, "metadata": metadata}


def _walk(path: Path, old: Any, new: Any) -> Iterator[Difference]:
    if old == new or path in _NOISE:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _walk((*path, key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and (key := _key(old, new)):
        before, after = ({item[key]: item for item in items} for items in (old, new))
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _walk((*path[:-1], f"{path[-1]}[{name}]"), before.get(name), after.get(name))
    else:
        yield Difference(".".join(path), old, new)


def _key(old: list[Any], new: list[Any]) -> str:
    items = [*old, *new]
    if not all(isinstance(item, dict) for item in items):
        return ""
    for key in _KEYS:
        is_named = all(isinstance(item.get(key), str | int) for item in items)
        if is_named and all(len({item[key] for item in one}) == len(one) for one in (old, new)):
            return key
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True) if not isinstance(value, str) else value
    text = text.replace("\n", "\\n")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
