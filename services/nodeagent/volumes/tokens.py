"""Service account tokens for projected volumes: asked for at the API, renewed long before they expire.

Source: authentication.k8s.io/v1 TokenRequest; kubelet's token manager renews after 80 % of the life time or 24 h.
"""

import base64
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shared.objects import times

DEFAULT_SECONDS = 3600
_RENEW_AFTER = 0.8
_LONGEST_S = 24 * 3600.0


class Api(Protocol):
    """The part of the API client that this module needs."""

    async def create(self, path: str, obj: dict[str, Any], query: dict[str, str] | None = None) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when (unix seconds) it should be replaced."""

    text: str
    renew_at: float


async def request(api: Api, pod: Mapping[str, Any], source: Mapping[str, Any]) -> Token:
    """A new token bound to the pod. Raises ApiError or BusError."""
    metadata = pod["metadata"]
    account = pod["spec"].get("serviceAccountName") or "default"
    body: dict[str, Any] = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"name": account, "namespace": metadata["namespace"]},
        "spec": {
            "audiences": [source["audience"]] if source.get("audience") else [],
            "expirationSeconds": int(source.get("expirationSeconds") or DEFAULT_SECONDS),
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }
    path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
    answer = await api.create(path, body)
    status = answer["status"]
    now = time.time()
    expires = times.parse(status["expirationTimestamp"]).timestamp()
    return Token(status["token"], _renewal(now, expires))


def existing(text: str) -> Token | None:
    """A token found in a volume, None if it cannot be read or is due for renewal."""
    try:
        part = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        token = Token(text, _renewal(float(claims["iat"]), float(claims["exp"])))
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return token if token.renew_at > time.time() else None


def _renewal(issued: float, expires: float) -> float:
    # Spread, so that the pods of a restarted node do not all ask at one moment.
    life = min((expires - issued) * _RENEW_AFTER, _LONGEST_S)
    return issued + life * random.uniform(0.95, 1.0)
