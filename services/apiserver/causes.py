"""Why a revision exists, in the words that `wherry history` shows: the request that made it."""

from services.apiserver import patching
from services.apiserver.protocol import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def cause(request: Request, subresource: str = "") -> str:
    """`create`, `update status`, `apply`, `patch scale`, `delete`."""
    verb = _VERBS.get(request.method, request.method.lower())
    if verb == "patch" and patching.media_of(request) == patching.APPLY_PATCH:
        verb = "apply"
    return f"{verb} {subresource}" if subresource else verb
