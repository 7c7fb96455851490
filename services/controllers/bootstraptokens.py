"""Removes expired bootstrap tokens (Kubernetes' token cleaner): a token that no longer lets anybody in should not stay
readable in a Secret either.

Source: Kubernetes, "Authenticating with Bootstrap Tokens".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from services.controllers.actions import NOTHING, Delete, Key, Moment, Object, Plan
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta, times

SECRETS = ("", "secrets")
NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"


class BootstrapTokens:
    """Keys are Secrets that hold tokens."""

    name = "token_cleaner"
    workers = 1

    def keys(self, view: View) -> Iterable[Key]:
        """Every token."""
        return [meta.key(one) for one in view.every(*SECRETS, NAMESPACE) if one.get("type") == TYPE]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The token itself."""
        if ref[:3] != (*SECRETS, NAMESPACE) or obj is None or obj.get("type") != TYPE:
            return []
        return [(ref.namespace, ref.name)]

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Delete the token, or wait until it expires."""
        token = view.get(*SECRETS, *key)
        if token is None or meta.is_deleting(token):
            return NOTHING
        left = _end_of(token) - moment.now
        if left == float("inf"):
            return NOTHING
        if left > 0:
            return Plan(again_after=left)
        return Plan((Delete(Ref(*SECRETS, *key), meta.uid(token)),))


def _end_of(token: Object) -> float:
    """When a token expires, in seconds since the epoch; what cannot be read has expired, for it lets nobody in."""
    encoded = (token.get("data") or {}).get("expiration")
    if not encoded:
        return float("inf")
    try:
        return times.parse(base64.b64decode(encoded).decode()).timestamp()
    except (ValueError, binascii.Error):
        return 0.0
