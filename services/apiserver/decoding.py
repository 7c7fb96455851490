"""Request bodies -> objects: media types, the kind a path expects, and what `fieldValidation` asks for."""

import asyncio
from collections.abc import Sequence

from services.apiserver.failures import bad_request, unsupported_body
from services.apiserver.negotiation import content_type, is_known
from services.apiserver.options import APPLY, check_delete
from services.apiserver.protocol import MEDIA_TYPES, PROTOBUF, TEXT_TYPES, YAML, Object, Request
from shared.errors import ApiError, BadRequest
from shared.objects import decoding, json, protobuf, schema
from shared.objects.json import Decoded
from shared.objects.registry import Resource
from shared.objects.repetition import same
from shared.objects.schema import Struct

# what decodes in a few milliseconds
LARGE_BYTES = 128 << 10
# a megabyte, which no object may exceed, has room for about a tenth as many if they hold anything
MOST_NODES = 100_000
UNRECOGNIZED = "the object provided is unrecognized"


def validation_level(request: Request) -> str:
    """The fieldValidation parameter, Warn unless given."""
    return request.query.get("fieldValidation") or "Warn"


def decode(request: Request, resource: Resource, old: Object | None = None) -> Object:
    """The object of a create or update body; unknown and repeated fields are dropped, warned about or refused.

    With `old`, the object as it is stored, it shares with that the parts that the client sends as he was given them.
    """
    obj, duplicates = _read(request, resource.kind, MEDIA_TYPES if resource.schema.custom is None else TEXT_TYPES)
    decoding.claim_kind(resource.schema, obj)
    keep_reset(obj)
    if old is None:
        unknown = decoding.conform(resource.schema, obj)
    else:
        _share(obj, old)
        unknown = decoding.conform_changed(resource.schema, obj, old)
    problems = [*duplicates, *unknown]
    level = validation_level(request)
    if problems and level == "Strict":
        raise decoding.strict_error(resource.schema, problems)
    if level != "Ignore":
        request.warnings.extend(problems)
    return obj


def _share(obj: Object, old: Object) -> None:
    """Take parts that are equal to stored ones, to the order of their fields, from there; in place.

    A client that changes an object sends all of it, and what was stored is in form, has its defaults and is valid.
    """
    for name, value in obj.items():
        before = old.get(name)
        if name == "metadata" and isinstance(value, dict):
            _share(value, old[name])
        elif isinstance(value, dict | list) and same(value, before):
            obj[name] = before


def decode_as(request: Request, api_version: str, kind: str, older: Sequence[str] = ()) -> Object:
    """A body that must be of one kind; apiVersions in `older` are taken for the same."""
    struct = struct_of(api_version, kind)
    obj, _ = _read(request, kind)
    if obj.get("apiVersion") in older:
        obj["apiVersion"] = api_version
    decoding.claim_kind(struct, obj)
    decoding.conform(struct, obj)
    return obj


async def decode_ahead(request: Request) -> None:
    """Decode a large body in a thread, so that everybody else is served meanwhile; who asks for it then has it.

    Three megabytes of YAML take seconds, and some that are made for the purpose many.
    """
    if len(request.body) > LARGE_BYTES and is_known(media_of(request)):
        try:
            request.decoded = await asyncio.to_thread(_decoded, request)
        except ApiError as exc:
            request.decoded = exc


def media_of(request: Request) -> str:
    """The media type of the body; server-side apply takes JSON for the YAML it is."""
    media = content_type(request.headers.get("content-type", ""))
    return YAML if media == APPLY else media


def keep_reset(obj: Object) -> None:
    """An empty managedFields is the wish to be rid of them; canonical form would lose it. In place."""
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]


def struct_of(api_version: str, kind: str) -> Struct:
    """The schema of a kind that the server itself knows."""
    found = schema.kind(api_version, kind)
    assert found is not None, (api_version, kind)
    return found


def read_options(request: Request) -> Object:
    """DeleteOptions from the body and the query; the body wins where both speak."""
    options: Object = {}
    query = request.query
    if query.get("gracePeriodSeconds"):
        options["gracePeriodSeconds"] = _integer("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    if query.get("propagationPolicy"):
        options["propagationPolicy"] = query.get("propagationPolicy")
    if "orphanDependents" in query:
        options["orphanDependents"] = query.flag("orphanDependents")
    if query.all("dryRun"):
        options["dryRun"] = query.all("dryRun")
    if request.body:
        body, _ = _read(request, "DeleteOptions")
        if body.get("kind", "DeleteOptions") != "DeleteOptions":
            raise bad_request(f"expected a DeleteOptions in the body of a deletion, not a {body['kind']}")
        body |= {"apiVersion": "v1", "kind": "DeleteOptions"}
        decoding.conform(struct_of("v1", "DeleteOptions"), body)
        options |= body
    check_delete(options)
    return options


def _read(request: Request, kind: str, media_types: Sequence[str] = MEDIA_TYPES) -> tuple[Object, list[str]]:
    """The body as an object of any kind, and its repeated fields."""
    media = content_type(request.headers.get("content-type", ""))
    if not is_known(media) or media not in media_types:
        raise unsupported_body(media_types)
    try:
        decoded = body_of(request)
    except BadRequest as exc:
        if media == PROTOBUF:
            raise
        raise bad_request(exc.message.replace(UNRECOGNIZED, f"{UNRECOGNIZED} (must be of type {kind})", 1)) from exc
    return decoded.object, decoded.duplicates


def body_of(request: Request) -> Decoded:
    """The decoded body, which is the caller's to change; BadRequest if it cannot be read."""
    if isinstance(request.decoded, ApiError):
        raise request.decoded
    decoded, request.decoded = request.decoded, None
    return decoded or _decoded(request)


def _decoded(request: Request) -> Decoded:
    media = media_of(request)
    is_protobuf = media == PROTOBUF
    decoded = Decoded(protobuf.decode(request.body), []) if is_protobuf else json.decode(request.body, media)
    if len(request.body) > LARGE_BYTES and json.is_crowded(decoded.object, MOST_NODES):
        raise bad_request(f"the object consists of more than {MOST_NODES} lists and objects")
    return decoded


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax ({name})') from None
