"""The failures of the API, worded and detailed as Kubernetes does, because clients and people match on them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from shared.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Expired,
    Forbidden,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    RequestEntityTooLarge,
    Timeout,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)
from shared.objects.registry import Resource

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
MAX_BODY = 3 * 1024 * 1024


class Problem(Protocol):
    """A cause of an Invalid answer (meta/v1 StatusCause)."""

    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def field(self) -> str: ...


def qualified(group: str, plural: str) -> str:
    """`deployments.apps`, or `pods` in the core group."""
    return f"{plural}.{group}" if group else plural


def named(group: str, kind: str, name: str) -> dict[str, Any]:
    """Status details that name an object."""
    details = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def not_found(resource: Resource, name: str) -> NotFound:
    text = f'{qualified(resource.group, resource.plural)} "{name}" not found'
    return NotFound(text, details=named(resource.group, resource.plural, name))


def already_exists(resource: Resource, name: str) -> AlreadyExists:
    text = f'{qualified(resource.group, resource.plural)} "{name}" already exists'
    return AlreadyExists(text, details=named(resource.group, resource.plural, name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> Conflict:
    return conflict_on(resource.group, resource.plural, name, why)


def conflict_on(group: str, kind: str, name: str, why: str) -> Conflict:
    text = f'Operation cannot be fulfilled on {qualified(group, kind)} "{name}": {why}'
    return Conflict(text, details=named(group, kind, name))


def invalid(group: str, kind: str, name: str, causes: Iterable[Problem]) -> Invalid:
    """The Invalid answer of an object: every cause is listed, the message joins them as Go's aggregate does."""
    listed = [{"reason": one.reason, "message": one.message, "field": one.field} for one in causes]
    texts = [f"{one['field']}: {one['message']}" for one in listed]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return Invalid(
        f'{qualified(group, kind)} "{name}" is invalid: {joined}', causes=listed, details=named(group, kind, name)
    )


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Mapping[str, str]] = ()) -> Forbidden:
    subject = qualified(resource.group, resource.plural)
    details = named(resource.group, resource.plural, name)
    if causes:
        details["causes"] = [dict(cause) for cause in causes]
    head = f'{subject} "{name}"' if name else subject
    return Forbidden(f"{head} is forbidden: {why}", details=details)


def unknown_path() -> NotFound:
    return NotFound("the server could not find the requested resource", details={})


def method_not_allowed() -> MethodNotAllowed:
    return MethodNotAllowed("the server does not allow this method on the requested resource", details={})


def not_acceptable(media_types: Sequence[str]) -> NotAcceptable:
    return NotAcceptable(f"only the following media types are accepted: {', '.join(media_types)}")


def unsupported_body(media_types: Sequence[str]) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(media_types)
    )


def unsupported_patch() -> UnsupportedMediaType:
    return UnsupportedMediaType("415: Unsupported Media Type", details={})


def unsupported_encoding(encoding: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"the Content-Encoding {encoding!r} of the request is not supported: send it plain")


def too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")


def unauthorized() -> Unauthorized:
    return Unauthorized("Unauthorized")


def internal(message: str) -> InternalError:
    return InternalError(f"Internal error occurred: {message}", details={"causes": [{"message": message}]})


def plain(code: int, message: str) -> ApiError:
    """A failure without reason, as Kubernetes answers errors that it did not foresee."""
    return ApiError(message, code=code, reason="")


def bad_request(message: str) -> BadRequest:
    return BadRequest(message)


def header_too_large() -> ApiError:
    return ApiError("the headers of the request are too large", code=431, reason="RequestHeaderFieldsTooLarge")


def timed_out(seconds: float) -> Timeout:
    """A request that took longer than it may (apiserver's WithTimeoutForNonLongRunningRequests)."""
    return Timeout(f"Timeout: request did not complete within the allotted timeout of {seconds:g} s", details={})


def too_many(message: str) -> TooManyRequests:
    """A request that the server would have to keep waiting too long; the client is to try again in a second."""
    return TooManyRequests(message, details={"retryAfterSeconds": 1})


def future_revision(asked: int, current: int) -> Timeout:
    """A resourceVersion that does not exist yet (apimachinery's NewTimeoutError with ResourceVersionTooLarge)."""
    text = f"Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Timeout(f"Timeout: {text}", details={"causes": [cause], "retryAfterSeconds": 1})


def too_old(asked: int, floor: int) -> Expired:
    return Expired(f"too old resource version: {asked} ({floor})")


def status_of(error: ApiError) -> dict[str, Any]:
    """The Status object of a failure; an empty reason is left out, empty details are kept where Kubernetes has them."""
    status = error.status()
    if not status.get("reason"):
        status.pop("reason", None)
    if error.details is not None:
        status["details"] = error.details
    return status


def success(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """The Status that answers a completed deletion."""
    details = named(resource.group, resource.plural, name)
    details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
