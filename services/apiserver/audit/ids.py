"""The id of a request, which the Audit-Id header tells the client and every audit event of it carries.

Source: k8s.io/apiserver, endpoints/filters/audit_init.go: a client or a proxy before this server may have chosen one.
"""

import itertools
import random
import uuid

from services.apiserver.protocol import Request

MAX_LENGTH = 64

_PROCESS = str(uuid.uuid4())[:24]
_LAST = (1 << 48) - 1
_NUMBERS = itertools.count(random.getrandbits(47))


def audit_id(request: Request | None) -> str:
    """The id of a request; a new one if it has none yet, or never came to be."""
    if request is None:
        return fresh_id()
    if not request.audit_id:
        request.audit_id = request.headers.get("audit-id", "")[:MAX_LENGTH] or fresh_id()
    return request.audit_id


def fresh_id() -> str:
    """An id that no client chose."""
    # an id has to be unique, not secret: randomness for each request would cost more than all else about it
    return f"{_PROCESS}{next(_NUMBERS) & _LAST:012x}"
