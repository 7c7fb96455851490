"""The id of a request, which the Audit-Id header tells the client and every audit event of it carries.

Source: k8s.io/apiserver, endpoints/filters/audit_init.go: a client or a proxy before this server may have chosen one.
"""

import random

from services.apiserver.protocol import Request

MAX_LENGTH = 64


def audit_id(request: Request | None) -> str:
    """The id of a request; a new one if it has none yet, or never came to be."""
    if request is None:
        return fresh_id()
    if not request.audit_id:
        request.audit_id = request.headers.get("audit-id", "")[:MAX_LENGTH] or fresh_id()
    return request.audit_id


def fresh_id() -> str:
    """An id that no client chose."""
    # an id has to be unique, not secret: the kernel's randomness would cost a system call for each request
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"
