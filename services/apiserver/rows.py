"""The rows of Tables, as bytes: `kubectl get` of five thousand pods is a join of what is kept with each record.

A row is made of its cells and the object's metadata. Only the age changes by itself, so the cells are kept in two
halves around it. Rows in which other cells tell times as well are made anew each time.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from shared.objects import json, tables, times
from shared.objects.registry import Resource
from shared.state.cache import Record

AGE = "Age"
MARK = "\0age"
MARKED = json.encode(MARK)
METADATA = b'"metadata":'


class Row(NamedTuple):
    """Bytes before and after the age, the creation in unix seconds, and where the metadata lies in the JSON.

    `resource` is what the columns were of: those of a custom resource may change.
    """

    resource: Resource | None
    head: bytes
    tail: bytes
    created: float
    start: int
    end: int


class _Clock(datetime):
    """A present that counts how many spans are measured up to it: more than the age, and more than the age changes."""

    spans = 0

    def __sub__(self, other: Any) -> Any:
        self.spans += 1
        return super().__sub__(other)


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_decode_metadata = msgspec.json.Decoder(_Metadata).decode


def separated(resource: Resource, records: Sequence[Record], now: datetime) -> list[bytes | memoryview]:
    """The rows of stored objects with their metadata, each with a comma before it as in a JSON array."""
    parts: list[bytes | memoryview] = []
    moment = now.timestamp()
    columns = [one["name"] for one in tables.column_definitions(resource)]
    place = columns.index(AGE) if AGE in columns else -1
    for record in records:
        row = record.row
        if row is None or (row.resource is not resource and row is not UNSTEADY):
            row = record.row = _row(resource, record, now, place)
        if row is UNSTEADY:
            parts.append(b",%b" % json.encode(tables.row(resource, record.object, now=now)))
            continue
        age = _age(int(moment - row.created))
        parts.append(b",%b%b%b%b}}" % (row.head, age, row.tail, record.json[row.start : row.end]))
    return parts


def make(resource: Resource, records: Sequence[Record], now: datetime) -> bool:
    """Make the rows of records that have none yet; whether there were any."""
    columns = [one["name"] for one in tables.column_definitions(resource)]
    place = columns.index(AGE) if AGE in columns else -1
    missing = [one for one in records if one.row is None]
    for record in missing:
        record.row = _row(resource, record, now, place)
    return bool(missing)


UNSTEADY = Row(None, b"", b"", 0.0, 0, 0)


def _row(resource: Resource, record: Record, now: datetime, place: int) -> Row:
    """The row to keep; `place` is the column of the age, negative if there is none."""
    obj = record.object
    created = obj["metadata"].get("creationTimestamp")
    if not created or place < 0:
        return UNSTEADY
    clock = _Clock.fromtimestamp(now.timestamp(), UTC)
    row = tables.row(resource, obj, include_object="None", now=clock)
    cells = row["cells"]
    if clock.spans != 1 or cells[place] != times.age(created, now):
        return UNSTEADY
    cells[place] = MARK
    del row["object"]
    head, _, tail = json.encode(row).partition(MARKED)
    encoded = record.json
    metadata = bytes(_decode_metadata(encoded).metadata)
    start = encoded.index(METADATA) + len(METADATA)
    if not encoded.startswith(metadata, start):
        # some other metadata come first, as a template's; to look for a text this long takes longer than all the rest
        start = encoded.index(METADATA + metadata) + len(METADATA)
    partial = b',"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":'
    return Row(resource, head, tail[:-1] + partial, times.parse(created).timestamp(), start, start + len(metadata))


@lru_cache(maxsize=4096)
def _age(seconds: int) -> bytes:
    return json.encode(times.duration(timedelta(seconds=seconds)))
