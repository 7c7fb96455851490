"""AdmissionReview: the question a webhook is asked, and what may be read from its answer (admission.k8s.io/v1)."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from services.apiserver.admission.attributes import CREATE, DELETE, UPDATE, Attributes
from services.apiserver.admission.matching import convert
from services.apiserver.protocol import Object
from shared.objects import json, meta
from shared.objects.registry import Resource

GROUP = "admission.k8s.io"
OPTIONS = {CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions"}


class BadReview(Exception):
    """The answer is none that could be trusted; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook answered."""

    allowed: bool
    status: Object = field(default_factory=dict)
    patch: list[Any] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    annotations: Object = field(default_factory=dict)


def question(asked: Attributes, matched: Resource, version: str) -> Object:
    """The review to send: the operation as the resource that matched would show it."""
    group, kind_version, kind = asked.kind
    shown = (group, kind_version, kind)
    if matched is not asked.resource and not asked.subresource:
        shown = (matched.group, matched.version, matched.kind)
    request: Object = {
        "uid": meta.new_uid(),
        "kind": dict(zip(("group", "version", "kind"), shown, strict=True)),
        "resource": {"group": matched.group, "version": matched.version, "resource": matched.plural},
        "requestKind": {"group": group, "version": kind_version, "kind": kind},
        "requestResource": {
            "group": asked.resource.group,
            "version": asked.resource.version,
            "resource": asked.resource.plural,
        },
        "name": asked.name,
        "namespace": asked.namespace,
        "operation": asked.operation,
        "userInfo": asked.request.user.info(),
        "object": asked.object if asked.subresource else convert(asked.object, asked.resource, matched),
        "oldObject": asked.old if asked.subresource else convert(asked.old, asked.resource, matched),
        "dryRun": asked.dry_run,
        "options": options_of(asked),
    }
    if asked.subresource:
        request["subResource"] = request["requestSubResource"] = asked.subresource
    present = {name: value for name, value in request.items() if value not in (None, "")}
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": present}


def options_of(asked: Attributes) -> Object | None:
    """The options of the request, as their own kind."""
    kind = OPTIONS.get(asked.operation)
    if kind is None:
        return None
    if asked.operation == DELETE:
        return {"kind": kind, "apiVersion": "meta.k8s.io/v1"} | {
            name: value for name, value in asked.options.items() if name not in ("kind", "apiVersion")
        }
    query = asked.request.query
    if asked.request.method == "PATCH" and asked.operation == UPDATE:
        kind = "PatchOptions"
    options: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if asked.dry_run:
        options["dryRun"] = ["All"]
    for name in ("fieldManager", "fieldValidation"):
        if query.get(name):
            options[name] = query.get(name)
    if kind == "PatchOptions" and "force" in query:
        options["force"] = query.flag("force")
    return options


def answer(review: Object, body: bytes, *, mutating: bool) -> Verdict:
    """The verdict in an answer to a review; BadReview if it is not one, or answers something else."""
    try:
        given = json.parse(body)
    except Exception as exc:
        raise BadReview(f"the body is no JSON: {exc}") from exc
    version = review["apiVersion"]
    wanted = f"{GROUP}/{version.partition('/')[2]}, Kind=AdmissionReview"
    if not isinstance(given, dict):
        raise BadReview(f"expected webhook response of {wanted}, got {json.json_type(given)}")
    found = f"{given.get('apiVersion', '')}, Kind={given.get('kind', '')}"
    if found != wanted:
        raise BadReview(f"expected webhook response of {wanted}, got {found}")
    response = given.get("response")
    if not isinstance(response, dict):
        raise BadReview("webhook response was absent")
    uid = review["request"]["uid"]
    if response.get("uid") != uid and version.endswith("/v1"):
        raise BadReview(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    status = response.get("status") or {}
    return Verdict(
        allowed=response.get("allowed") is True,
        status=status if isinstance(status, dict) else {},
        patch=_patch(response, strict=version.endswith("/v1"), mutating=mutating),
        warnings=tuple(str(one) for one in response.get("warnings") or ()),
        annotations=response.get("auditAnnotations") or {},
    )


def _patch(response: Object, *, strict: bool, mutating: bool) -> list[Any]:
    encoded, kind = response.get("patch"), response.get("patchType")
    if not mutating:
        if strict and encoded:
            raise BadReview("webhook response.patch may not be set")
        if strict and kind is not None:
            raise BadReview("webhook response.patchType may not be set")
        return []
    if not encoded:
        if strict and kind is not None:
            raise BadReview("webhook returned response.patchType but not response.patch")
        return []
    if strict and kind is None:
        raise BadReview("webhook returned response.patch but not response.patchType")
    if kind not in (None, "JSONPatch"):
        raise BadReview(f'webhook returned invalid response.patchType of "{kind}"')
    try:
        decoded = json.parse(base64.b64decode(encoded, validate=True))
    except (ValueError, TypeError, binascii.Error) as exc:
        raise BadReview(f"undecodable patch: {exc}") from exc
    except Exception as exc:
        raise BadReview(f"undecodable patch: {exc}") from exc
    if not isinstance(decoded, list):
        raise BadReview("undecodable patch: it is no list of operations")
    return decoded
