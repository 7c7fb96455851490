"""The whole exception tree of Wherry, so that a reader sees at one glance what may be caught where.

WherryError
├── ApiError                      an answer of the API server: code, reason, message, details
│   ├── BadRequest 400            ├── Unauthorized 401        ├── Forbidden 403
│   ├── NotFound 404              ├── MethodNotAllowed 405    ├── NotAcceptable 406
│   ├── AlreadyExists 409         ├── Conflict 409            ├── Gone 410 ─ Expired 410
│   ├── RequestEntityTooLarge 413 ├── UnsupportedMediaType 415├── Invalid 422
│   ├── TooManyRequests 429       ├── InternalError 500       ├── ServiceUnavailable 503
│   └── Timeout 504
├── BusError                      the broker refused or cannot carry a message
│   ├── Disconnected              no connection: nothing was sent, or its fate is unknown
│   ├── BusTimeout                no answer in time: its fate is unknown
│   ├── NoResponders              nobody listens on the subject
│   ├── BrokerError               the broker answered with an error; `code` is JetStream's
│   └── StreamBroken              a byte stream lost frames or its peer
├── StateError                    the state log
│   ├── RevisionConflict          compare-and-set lost; `actual` is the subject's revision if the broker told
│   ├── StorageFull               no room for another revision: reads go on, writes wait for space
│   └── RevisionTooOld            the revision is below the floor; `floor` is the oldest that can be served
├── SettingsError                 the environment or a configuration file
├── RuntimeFailure                containers: the kernel or the keeper refused
├── ImageError                    images: reference, manifest, layer
└── NetworkError                  pod network, service proxy, DNS
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class WherryError(Exception):
    """Root of every error raised on purpose."""


class ApiError(WherryError):
    """A Kubernetes `Status` of failure (meta/v1 Status; reasons as in apimachinery's StatusReason)."""

    default_code: ClassVar[int] = 500
    default_reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else code
        self.reason = self.default_reason if reason is None else reason
        self.message = message
        self.details = details

    def status(self) -> dict[str, Any]:
        """The error as the `Status` object that goes over the wire."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


class BadRequest(ApiError):
    default_code = 400
    default_reason = "BadRequest"


class Unauthorized(ApiError):
    default_code = 401
    default_reason = "Unauthorized"


class Forbidden(ApiError):
    default_code = 403
    default_reason = "Forbidden"


class NotFound(ApiError):
    default_code = 404
    default_reason = "NotFound"


class MethodNotAllowed(ApiError):
    default_code = 405
    default_reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    default_code = 406
    default_reason = "NotAcceptable"


class AlreadyExists(ApiError):
    default_code = 409
    default_reason = "AlreadyExists"


class Conflict(ApiError):
    default_code = 409
    default_reason = "Conflict"


class Gone(ApiError):
    default_code = 410
    default_reason = "Gone"


class Expired(Gone):
    """The resourceVersion or continue token is too old; the client must list again."""

    default_reason = "Expired"


class RequestEntityTooLarge(ApiError):
    default_code = 413
    default_reason = "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    default_code = 415
    default_reason = "UnsupportedMediaType"


class Invalid(ApiError):
    """Validation failed; `causes` are dicts with `reason`, `message`, `field` (meta/v1 StatusCause)."""

    default_code = 422
    default_reason = "Invalid"

    def __init__(
        self,
        message: str = "",
        *,
        causes: Sequence[Mapping[str, str]] = (),
        code: int | None = None,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        if causes:
            details = {**(details or {}), "causes": [dict(cause) for cause in causes]}
        super().__init__(message, code=code, reason=reason, details=details)

    @property
    def causes(self) -> list[dict[str, str]]:
        return list((self.details or {}).get("causes", ()))


class TooManyRequests(ApiError):
    default_code = 429
    default_reason = "TooManyRequests"


class InternalError(ApiError):
    default_code = 500
    default_reason = "InternalError"


class ServiceUnavailable(ApiError):
    default_code = 503
    default_reason = "ServiceUnavailable"


class Timeout(ApiError):
    default_code = 504
    default_reason = "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {
    kind.default_reason: kind
    for kind in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        AlreadyExists,
        Conflict,
        Gone,
        Expired,
        RequestEntityTooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
        InternalError,
        ServiceUnavailable,
        Timeout,
    )
}
_BY_CODE: dict[int, type[ApiError]] = {
    **{kind.default_code: kind for kind in reversed(_BY_REASON.values())},
    409: Conflict,
    410: Gone,
}


def api_error_from_status(status: Mapping[str, Any]) -> ApiError:
    """The exception for a `Status` object: by reason, else by code, else a plain ApiError."""
    reason = str(status.get("reason") or "")
    code = int(status.get("code") or 500)
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError
    return kind(
        str(status.get("message") or ""),
        code=code,
        reason=reason or None,
        details=dict(status["details"]) if status.get("details") else None,
    )


class BusError(WherryError):
    """The broker refused a message, or could not carry it."""


class Disconnected(BusError):
    """There is no connection to the broker; `sent` tells whether the message may have left before it broke."""

    def __init__(self, message: str = "", *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class BusTimeout(BusError):
    """No answer came in time."""


class NoResponders(BusError):
    """Nobody is subscribed to the subject of a request."""


class BrokerError(BusError):
    """The broker answered with an error: `code` is JetStream's err_code, 0 for a permission of the user."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StreamBroken(BusError):
    """A byte stream over the bus lost a frame, its peer, or the broker."""


class StateError(WherryError):
    """The state log refused an operation."""


class RevisionConflict(StateError):
    """Compare-and-set lost: `actual` is the subject's last revision (0: none), None when the broker did not tell."""

    def __init__(self, message: str = "revision conflict", *, actual: int | None = None) -> None:
        super().__init__(message)
        self.actual = actual


class RevisionTooOld(StateError):
    """The revision asked for is below `floor`, the oldest one that can still be served."""

    def __init__(self, message: str = "revision too old", *, floor: int = 0) -> None:
        super().__init__(message)
        self.floor = floor


class StorageFull(StateError):
    """There is no room for another revision on the broker's disk, or in the limit of its store."""


class SettingsError(WherryError):
    """The environment or a configuration file cannot be used."""


class RuntimeFailure(WherryError):
    """The kernel or the keeper refused a container operation."""


class ImageError(WherryError):
    """An image reference, manifest or layer cannot be used."""


class NetworkError(WherryError):
    """Pod network, service proxy or DNS could not be set up."""
