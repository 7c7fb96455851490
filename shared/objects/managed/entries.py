"""metadata.managedFields as a table: who owns which fields, since when.

There is one entry per manager, operation, apiVersion and subresource; an applier has one whatever version it applied.
Source: apimachinery's managedfields package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from shared.objects.managed import sets
from shared.objects.managed.sets import Fields

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_NAME: Final = 128
MAX_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"

Object = dict[str, Any]


class Manager(NamedTuple):
    """Who writes: `operation` is APPLY or UPDATE; `subresource` is empty for the object itself."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> Manager:
        """What tells entries apart."""
        return self._replace(api_version="") if self.operation == APPLY else self

    def __str__(self) -> str:
        """The manager as conflicts name it."""
        shown = json.dumps(self.name, ensure_ascii=False)
        if self.subresource:
            shown += f' with subresource "{self.subresource}"'
        return f"{shown} using {self.api_version}" if self.operation == UPDATE else shown


class Entry(NamedTuple):
    """What a manager owns; `time` is that of its last change, empty if it only joined others in what they own."""

    manager: Manager
    fields: Fields
    time: str = ""


Managed = dict[Manager, Entry]
"""Entries by the identity of their managers."""


def manager_name(asked: str, user_agent: str) -> str:
    """The name to record: the one asked for, or the printable beginning of the user agent up to its first slash."""
    if asked:
        return asked
    name = "".join(character for character in user_agent.partition("/")[0] if character.isprintable())
    while len(name.encode()) > MAX_NAME:
        name = name[:-1]
    return name or "unknown"


def decode(listed: Iterable[Object]) -> Managed:
    """The table of a stored object."""
    managed: Managed = {}
    for one in listed:
        manager = Manager(one.get("manager", ""), one["operation"], one["apiVersion"], one.get("subresource", ""))
        managed[manager.identity] = Entry(manager, one.get("fieldsV1") or {}, one.get("time", ""))
    return managed


def read(listed: Iterable[Object]) -> Managed:
    """The table a client wrote; ValueError if it is malformed."""
    listed = list(listed)
    for one in listed:
        if one.get("operation") not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        if not one.get("apiVersion"):
            raise ValueError("apiVersion must not be empty")
        if one.get("fieldsType") != "FieldsV1":
            raise ValueError(f"invalid fieldsType {one.get('fieldsType', '')}")
    return decode([{**one, "fieldsV1": sets.read(one.get("fieldsV1") or {})} for one in listed])


def encode(managed: Managed) -> list[Object]:
    """The entries as an object carries them: appliers first, then by time, name, version and subresource."""
    return [encoded(one) for one in sorted(managed.values(), key=_order)]


def encoded(entry: Entry) -> Object:
    """One entry as an object carries it."""
    manager = entry.manager
    made: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    if entry.time:
        made["time"] = entry.time
    made |= {"fieldsType": "FieldsV1", "fieldsV1": entry.fields}
    if manager.subresource:
        made["subresource"] = manager.subresource
    return made


def _order(entry: Entry) -> tuple[str, ...]:
    manager = entry.manager
    return manager.operation, entry.time, manager.name, manager.api_version, manager.subresource


def same_but_times(left: Sequence[Object], right: Sequence[Object]) -> bool:
    """Whether two lists of entries differ in nothing but times."""
    if len(left) != len(right):
        return False
    if left is right or left == right:
        return True

    return _timeless(left) == _timeless(right)


def _timeless(listed: Sequence[Object]) -> dict[tuple[str, ...], Fields]:
    """What there is besides times; sets that were not touched are the same on both sides, and compared at no cost."""
    return {
        (one.get("manager", ""), one["operation"], one["apiVersion"], one.get("subresource", "")): one.get("fieldsV1")
        or {}
        for one in listed
    }


def cap_updaters(managed: Managed) -> None:
    """Merge the oldest entries of updates into one per version until there are no more than MAX_UPDATERS; in place."""
    updaters = [one for one in managed.values() if one.manager.operation == UPDATE]
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return
    first: dict[str, Manager] = {}
    for entry in sorted(updaters, key=_age):
        if surplus <= 0:
            return
        version = entry.manager.api_version
        if version not in first:
            first[version] = entry.manager
            continue
        bucket = Manager(ANCIENT, UPDATE, version)
        if bucket not in managed:
            managed[bucket] = managed.pop(first[version])
        managed.pop(entry.manager)
        fields = sets.united(entry.fields, managed[bucket].fields)
        managed[bucket] = Entry(bucket, fields, entry.time)
        surplus -= 1


def _age(entry: Entry) -> tuple[str, str]:
    return entry.time, str(entry.manager)
