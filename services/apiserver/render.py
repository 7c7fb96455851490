"""Outcomes -> bytes in the form a client asked for: JSON, YAML or protobuf; objects, tables or metadata only.

Stored objects begin with `apiVersion` and `kind` (see `canonical`), so that an element of a list is a slice of bytes
that already exist: Kubernetes leaves both out of the items of a typed list.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from services.apiserver import conversion, rows
from services.apiserver.negotiation import Accepted
from services.apiserver.protocol import JSON, PROTOBUF, Document, Event, Item, Listing, Object, Query, Raw
from shared.objects import json, protobuf, tables
from shared.objects.registry import Resource
from shared.state.cache import Record

_encode_text = msgspec.json.Encoder().encode


def canonical(obj: Object) -> Object:
    """The object with apiVersion, kind and metadata first."""
    head = {key: obj[key] for key in ("apiVersion", "kind", "metadata") if key in obj}
    return head | obj


def encode(obj: Object, media: str) -> bytes:
    """An object in a media type."""
    if media == JSON:
        return json.encode(obj)
    if media == PROTOBUF:
        return protobuf.encode(obj)
    # nearly a megabyte that a process needs only once somebody asks for YAML
    from shared.objects import yaml

    return yaml.encode(obj)


def document(outcome: Document, accepted: Accepted) -> Raw:
    return Raw(encode(outcome.object, accepted.media), accepted.media, outcome.status)


def item(outcome: Item, accepted: Accepted, query: Query) -> Raw:
    """One object, or the table or metadata of it."""
    if not accepted.transformation:
        plain = accepted.media == JSON and outcome.encoded is not None
        body = outcome.encoded if plain else encode(outcome.object, accepted.media)
        assert body is not None
        return Raw(body, accepted.media, outcome.status)
    if accepted.transformation == "Table":
        shown = table(outcome.resource, [outcome.object], accepted, query)
        shown["metadata"] = {"resourceVersion": outcome.object["metadata"].get("resourceVersion", "")}
    else:
        shown = partial(outcome.object, accepted)
    return Raw(encode(shown, accepted.media), accepted.media, outcome.status)


def listing(outcome: Listing, accepted: Accepted, query: Query) -> Raw:
    """A list, or the table or metadata of it."""
    meta: dict[str, Any] = {"resourceVersion": str(outcome.revision)}
    if outcome.token:
        meta["continue"] = outcome.token
    if outcome.remaining is not None:
        meta["remainingItemCount"] = outcome.remaining
    resource = outcome.resource
    if accepted.transformation == "Table":
        plain = query.get("includeObject") in ("", "Metadata") and accepted.media == JSON
        if plain and outcome.records and conversion.storage_of(resource) is resource:
            head = table(resource, [], accepted, query) | {"metadata": meta}
            del head["rows"]
            parts = rows.separated(resource, outcome.records, datetime.now(UTC))
            return _in_parts(b'%b,"rows":[' % json.encode(head)[:-1], parts)
        shown = table(resource, (conversion.view(resource, one) for one in outcome.records), accepted, query)
        shown["metadata"] = meta
        return Raw(encode(shown, accepted.media), accepted.media)
    if accepted.transformation:
        items = [partial(one.object, accepted) for one in outcome.records]
        kind = "PartialObjectMetadataList"
        shown = {"kind": kind, "apiVersion": accepted.api_version, "metadata": meta, "items": items}
        return Raw(encode(shown, accepted.media), accepted.media)
    if accepted.media == JSON:
        head = {"kind": _list_kind(resource), "apiVersion": resource.api_version, "metadata": meta}
        return _in_parts(b'%b,"items":[' % _encode_text(head)[:-1], _separated(resource, outcome.records))
    return Raw(encode(listing_object(outcome), accepted.media), accepted.media)


def make_ready(outcome: Listing, start: int, stop: int, accepted: Accepted) -> bool:
    """Make what some records of a list are joined of and what is kept with them; whether there was anything to do."""
    records, resource = outcome.records[start:stop], outcome.resource
    if accepted.media != JSON or conversion.storage_of(resource) is not resource:
        return False
    if accepted.transformation == "Table":
        return rows.make(resource, records, datetime.now(UTC))
    if accepted.transformation:
        return False
    unmade = [one for one in records if not one.has_json]
    for one in unmade:
        one.encode()
    return bool(unmade)


def listing_object(outcome: Listing) -> Object:
    """A list as an object, for YAML, protobuf and the bus."""
    meta: dict[str, Any] = {"resourceVersion": str(outcome.revision)}
    if outcome.token:
        meta["continue"] = outcome.token
    if outcome.remaining is not None:
        meta["remainingItemCount"] = outcome.remaining
    resource = outcome.resource
    bare = resource.schema.custom is None
    items = [conversion.view(resource, one) for one in outcome.records]
    items = [_untyped(one) for one in items] if bare else items
    return {"kind": _list_kind(resource), "apiVersion": resource.api_version, "metadata": meta, "items": items}


def event(resource: Resource, one: Event, accepted: Accepted, query: Query) -> bytes:
    """A line of a watch."""
    if not accepted.transformation or one.type == "ERROR":
        return one.line
    if accepted.transformation == "Table":
        if one.type == "BOOKMARK":
            shown = {
                "kind": "Table",
                "apiVersion": accepted.api_version,
                "metadata": one.object["metadata"],
                "rows": [],
            }
        else:
            shown = table(resource, [one.object], accepted, query)
            shown["metadata"] = {"resourceVersion": one.object["metadata"].get("resourceVersion", "")}
    else:
        shown = partial(one.object, accepted)
    return b'{"type":"%s","object":%s}\n' % (one.type.encode(), json.encode(shown))


def table(resource: Resource, objects: Iterable[Object], accepted: Accepted, query: Query) -> Object:
    """The meta.k8s.io Table of objects."""
    include = query.get("includeObject") or "Metadata"
    shown = tables.table(resource, list(objects), include_object=include, now=datetime.now(UTC))
    shown["apiVersion"] = accepted.api_version
    return shown


def partial(obj: Object, accepted: Accepted) -> Object:
    """The PartialObjectMetadata of an object."""
    shown = tables.partial_metadata(obj)
    shown["apiVersion"] = accepted.api_version
    return shown


def _in_parts(head: bytes, parts: list[bytes | memoryview]) -> Raw:
    """A document that ends with an array of `parts`, each with a comma before it."""
    if parts:
        # no comma before the first
        parts[0] = head + parts[0][1:]
        parts.append(b"]}")
    return Raw(b"" if parts else head + b"]}", JSON, parts=parts)


def _separated(resource: Resource, records: Sequence[Record]) -> list[bytes | memoryview]:
    """The elements of a list, each with a comma before it."""
    parts: list[bytes | memoryview] = []
    if resource.schema.custom is not None:
        # the items of an untyped list say what they are
        for record in records:
            obj = conversion.view(resource, record)
            parts.append(b",%b" % (record.json if obj is record.object else json.encode(obj)))
        return parts
    prefix = _prefix(resource.api_version, resource.kind)
    length = len(prefix)
    for record in records:
        pieces = record.pieces
        if pieces[0].startswith(prefix):
            parts += (b",{", memoryview(pieces[0])[length:], *pieces[1:])
        else:
            parts.append(b",%b" % json.encode(_untyped(conversion.view(resource, record))))
    return parts


def _list_kind(resource: Resource) -> str:
    return resource.schema.custom.list_kind if resource.schema.custom is not None else f"{resource.kind}List"


def _untyped(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


@lru_cache(maxsize=256)
def _prefix(api_version: str, kind: str) -> bytes:
    return b'{"apiVersion":%s,"kind":%s,' % (_encode_text(api_version), _encode_text(kind))
