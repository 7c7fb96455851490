"""Request bodies -> objects: media types, the kind a path expects, and what `fieldValidation` asks for."""

from collections.abc import Sequence

from services.apiserver.failures import bad_request, unsupported_body
from services.apiserver.negotiation import content_type, is_known
from services.apiserver.protocol import MEDIA_TYPES, PROTOBUF, Object, Request
from shared.errors import BadRequest
from shared.objects import decoding, json, protobuf, schema
from shared.objects.registry import Resource
from shared.objects.schema import Struct

LEVELS = ("Ignore", "Warn", "Strict")
UNRECOGNIZED = "the object provided is unrecognized"


def validation_level(request: Request) -> str:
    """The fieldValidation parameter, Warn unless given; BadRequest for an unknown one."""
    level = request.query.get("fieldValidation") or "Warn"
    if level not in LEVELS:
        raise bad_request(f'fieldValidation: Unsupported value: "{level}": supported values: {", ".join(LEVELS)}')
    return level


def decode(request: Request, resource: Resource) -> Object:
    """The object of a create or update body; unknown and repeated fields are dropped, warned about or refused."""
    obj, duplicates = _read(request, resource.kind)
    decoding.claim_kind(resource.schema, obj)
    keep_reset(obj)
    problems = [*duplicates, *decoding.conform(resource.schema, obj)]
    level = validation_level(request)
    if problems and level == "Strict":
        raise decoding.strict_error(resource.schema, problems)
    if level != "Ignore":
        request.warnings.extend(problems)
    return obj


def decode_as(request: Request, api_version: str, kind: str, older: Sequence[str] = ()) -> Object:
    """A body that must be of one kind; apiVersions in `older` are taken for the same."""
    struct = struct_of(api_version, kind)
    obj, _ = _read(request, kind)
    if obj.get("apiVersion") in older:
        obj["apiVersion"] = api_version
    decoding.claim_kind(struct, obj)
    decoding.conform(struct, obj)
    return obj


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
    _check_options(options)
    return options


def _check_options(options: Object) -> None:
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        raise _invalid_options("propagationPolicy and orphanDependents may not be both set")
    if policy not in (None, "Foreground", "Background", "Orphan"):
        raise _invalid_options(f'propagationPolicy: Unsupported value: "{policy}"')


def _invalid_options(text: str) -> BadRequest:
    return bad_request(f"DeleteOptions is invalid: {text}")


def _read(request: Request, kind: str) -> tuple[Object, list[str]]:
    """The body as an object of any kind, and its repeated fields."""
    media = content_type(request.headers.get("content-type", ""))
    if not is_known(media):
        raise unsupported_body(MEDIA_TYPES)
    if media == PROTOBUF:
        return protobuf.decode(request.body), []
    try:
        decoded = json.decode(request.body, media)
    except BadRequest as exc:
        raise bad_request(exc.message.replace(UNRECOGNIZED, f"{UNRECOGNIZED} (must be of type {kind})", 1)) from exc
    return decoded.object, decoded.duplicates


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax ({name})') from None
