"""The client certificate of a connection, with what tells it from others of the same subject."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any


def peer_certificate(extra: Callable[[str], Any]) -> dict[str, Any] | None:
    """The certificate as `ssl` tells it and the SHA-256 of its DER form as `fingerprint`; None if the client sent none.

    `extra` is the transport's `get_extra_info`.
    """
    certificate = extra("peercert")
    if not certificate:
        return None
    encoded = extra("ssl_object").getpeercert(binary_form=True)
    return {**certificate, "fingerprint": hashlib.sha256(encoded).hexdigest()}
