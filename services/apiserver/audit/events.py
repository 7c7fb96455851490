"""Requests and their outcomes as audit events. Source: k8s.io/apiserver, apis/audit/v1 Event and audit/request.go."""

import dataclasses
import ipaddress
from typing import Any

import msgspec

from services.apiserver import decoding, render
from services.apiserver.audit.ids import audit_id
from services.apiserver.audit.policy import METADATA, REQUEST_RESPONSE, Decision
from services.apiserver.failures import status_of
from services.apiserver.negotiation import Accepted
from services.apiserver.protocol import (
    JSON,
    Document,
    Item,
    Listing,
    Object,
    Outcome,
    ProtocolSwitch,
    Raw,
    Request,
    Stream,
    Upgrade,
    quoted_path,
)
from services.apiserver.routes import Attributes
from shared.errors import ApiError
from shared.objects import json

CLOSED_EARLY = "Connection closed early"


def begun(request: Request, asked: Attributes, decision: Decision) -> Object:
    """The event of a request, without its stage and times."""
    query = request.query.encoded()
    event: Object = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": decision.level,
        "auditID": audit_id(request),
        "stage": "",
        "requestURI": quoted_path(request.path) + (f"?{query}" if query else ""),
        "verb": asked.verb,
        "user": (request.impersonator or request.user).info(),
    }
    if request.impersonator is not None:
        event["impersonatedUser"] = request.user.info()
    if sources := source_addresses(request):
        event["sourceIPs"] = sources
    if request.agent:
        event["userAgent"] = request.agent
    if not asked.path:
        event["objectRef"] = _reference(asked)
    return event


def source_addresses(request: Request) -> list[str]:
    """Where a request came from: what proxies on the way have told, and the other end of the connection."""
    found = [one.strip() for one in request.headers.get("x-forwarded-for", "").split(",")]
    found += [request.headers.get("x-real-ip", "").strip(), request.peer]
    return list(dict.fromkeys(filter(_is_address, found)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _reference(asked: Attributes) -> Object:
    reference = {
        "resource": asked.resource,
        "namespace": asked.namespace,
        "name": asked.name,
        "apiGroup": asked.group,
        "apiVersion": asked.version,
        "subresource": asked.subresource,
    }
    return {key: value for key, value in reference.items() if value}


def status_of_outcome(outcome: Outcome) -> Object:
    """The responseStatus of a success; a Status that is itself the answer tells more than its code."""
    if isinstance(outcome, Document) and outcome.object.get("kind") == "Status":
        kept = ("metadata", "status", "message", "reason", "details")
        status = {key: outcome.object[key] for key in kept if key in outcome.object}
        return status | {"code": outcome.status}
    if isinstance(outcome, Item | Document | Raw | Stream):
        code = outcome.status
    else:
        code = 101 if isinstance(outcome, Upgrade | ProtocolSwitch) else 200
    return {"metadata": {}, "code": code}


def status_of_failure(error: ApiError) -> Object:
    """The responseStatus of a failure."""
    status = status_of(error)
    return {key: value for key, value in status.items() if key not in ("kind", "apiVersion")}


async def add_request(event: Object, request: Request, decision: Decision) -> None:
    """Add what was sent, if the level asks for it and it can be read."""
    if decision.level == METADATA or not request.body:
        return
    try:
        event["requestObject"] = lean(await _body(request), decision)
    except (ApiError, msgspec.DecodeError, UnicodeDecodeError):
        # the answer says what is wrong with it
        return
    _complete(event, event["requestObject"])


async def _body(request: Request) -> Any:
    media = decoding.media_of(request)
    if media == JSON or media.endswith("+json"):
        return msgspec.json.decode(request.body)
    copy = dataclasses.replace(request, decoded=None)
    await decoding.decode_ahead(copy)
    return decoding.body_of(copy).object


def add_response(event: Object, outcome: Outcome, request: Request, decision: Decision) -> None:
    """Add what is answered, if the level asks for it, and what the answer tells of the object's name."""
    if isinstance(outcome, Item):
        _complete(event, outcome.object)
    if decision.level != REQUEST_RESPONSE or not isinstance(outcome, Item | Document | Listing):
        return
    if isinstance(outcome, Document):
        event["responseObject"] = lean(outcome.object, decision)
        return
    accepted = Accepted(JSON)
    if isinstance(outcome, Item):
        whole = render.item(outcome, accepted, request.query).whole
    else:
        whole = render.listing(outcome, accepted, request.query).whole
    lean_form = decision.omit_managed_fields
    event["responseObject"] = lean(msgspec.json.decode(whole), decision) if lean_form else msgspec.Raw(whole)


def lean(obj: Any, decision: Decision) -> Any:
    """An object, or list of objects, without its managed fields if they are not wanted."""
    if not decision.omit_managed_fields or not isinstance(obj, dict):
        return obj
    found = _without_managed_fields(obj)
    if isinstance(found.get("items"), list):
        found = found | {"items": [_without_managed_fields(one) for one in found["items"] if isinstance(one, dict)]}
    return found


def _without_managed_fields(obj: Object) -> Object:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return obj | {"metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _complete(event: Object, obj: Any) -> None:
    """Fill what the path did not tell of the object: the name of one that is created."""
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    reference = event.get("objectRef")
    if not isinstance(metadata, dict) or reference is None:
        return
    for key in ("name", "namespace"):
        if isinstance(value := metadata.get(key), str) and value:
            reference.setdefault(key, value)


def encode(event: Object) -> bytes:
    """One line of JSON."""
    return json.encode(event) + b"\n"
