"""PATCH bodies -> a new object, by media type; what a bad patch is answered with."""

import re
from json import JSONDecodeError

from services.apiserver import options, strategies
from services.apiserver.decoding import body_of, keep_reset, validation_level
from services.apiserver.failures import bad_request, invalid, plain, unsupported_patch
from services.apiserver.negotiation import content_type
from services.apiserver.protocol import Object, Request
from shared.errors import ApiError, BadRequest, Invalid
from shared.objects import decoding, json, meta, patches
from shared.objects.registry import Resource
from shared.objects.validation import Cause

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = options.APPLY
UNPARSED = "the object provided is unrecognized: couldn't get version/kind; json parse error: "


def media_of(request: Request) -> str:
    """The patch type; UnsupportedMediaType if there is none that is known."""
    header = request.headers.get("content-type", "")
    media = content_type(header) if header else ""
    if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH):
        raise unsupported_patch()
    return media


def read_patch(request: Request, media: str) -> object:
    """The decoded patch document."""
    try:
        document = json.parse(request.body)
    except BadRequest as exc:
        # a patch says nothing of a version and kind that were looked for
        why = exc.__cause__
        problem = json.syntax_error(why) if isinstance(why, JSONDecodeError) else exc.message.removeprefix(UNPARSED)
        raise bad_request(f"error decoding patch: {problem}") from exc
    wanted, shape = (list, "[]handlers.jsonPatchOp") if media == JSON_PATCH else (dict, "map[string]interface {}")
    if not isinstance(document, wanted):
        given = json.json_type(document)
        raise bad_request(f"error decoding patch: json: cannot unmarshal {given} into Go value of type {shape}")
    return document


def read_configuration(request: Request, resource: Resource) -> Object:
    """The body of an apply: JSON or YAML of the resource's kind that says nothing of managedFields."""
    try:
        decoded = body_of(request)
    except BadRequest as exc:
        problem = exc.message.removeprefix(UNPARSED).removeprefix("the object provided is unrecognized: ")
        if problem.startswith("yaml: "):
            problem = f"error converting YAML to JSON: {problem}"
        raise bad_request(f"error decoding YAML: {problem}") from exc
    config = decoded.object
    level = validation_level(request)
    if decoded.duplicates and level == "Strict":
        raise bad_request(f"strict decoding error: {', '.join(decoded.duplicates)}")
    if level == "Warn":
        request.warnings.extend(decoded.duplicates)
    version, kind = config.get("apiVersion", ""), config.get("kind", "")
    if (version, kind) != (resource.api_version, resource.kind):
        group_version = version if "/" in str(version) else f"/{version}"
        raise bad_request(f"invalid object type: {group_version}, Kind={kind}")
    metadata = config.get("metadata")
    if not isinstance(metadata, dict):
        config["metadata"] = {}
    elif metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    return config


def conform(resource: Resource, obj: Object) -> None:
    """Bring a merged object into canonical form; a value of the wrong type is what Kubernetes did not foresee."""
    try:
        decoding.conform(resource.schema, obj)
    except BadRequest as exc:
        raise plain(500, f"failed to convert the applied object: {exc.message}") from exc


def apply(request: Request, resource: Resource, media: str, patch: object, old: Object) -> Object:
    """The patched object, pruned; Invalid names the field `patch` if the result is none of the kind."""
    if media == JSON_PATCH:
        try:
            new = patches.json_patch(old, patch)
        except ApiError as exc:
            raise Invalid("the server rejected our request due to an error in our request") from exc
    elif media == MERGE_PATCH:
        new = patches.merge_patch(old, patch)
    else:
        new = patches.strategic_merge(resource.schema, old, patch)
    if not isinstance(new, dict):
        raise bad_request("the patch does not leave an object")
    if (new.get("apiVersion"), new.get("kind")) != (resource.api_version, resource.kind):
        raise _rejected(f"the patch changes apiVersion or kind to {new.get('apiVersion')}/{new.get('kind')}")
    shares = strategies.key(resource) in strategies.SHARING
    if not shares:
        new = meta.copy(new)
    elif new["metadata"] is old["metadata"]:
        new["metadata"] = dict(old["metadata"])
    keep_reset(new)
    try:
        unknown = (
            decoding.conform_changed(resource.schema, new, old) if shares else decoding.conform(resource.schema, new)
        )
    except BadRequest as exc:
        raise _rejected(exc.message) from exc
    level = validation_level(request)
    if unknown and level == "Strict":
        raise _rejected(f"strict decoding error: {', '.join(unknown)}")
    if level != "Ignore":
        request.warnings.extend(one for one in unknown if one not in request.warnings)
    return new


def _rejected(why: str) -> Invalid:
    why = re.sub(r'^\w+ in version "\w+" cannot be handled as a \w+: ', "", why)
    return invalid("", "", "", [Cause("FieldValueInvalid", f"Invalid value: {why}", "patch")])
