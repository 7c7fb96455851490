"""Removes certificate requests that nobody needs any more: clients that renew by themselves make new ones for ever.

Times are those of kube-controller-manager's csrcleaner.
"""

from __future__ import annotations

import base64

from cryptography import x509

from services.controllers import conditions, instants
from services.controllers.actions import NOTHING, Delete, Key, Moment, Object, Plan
from services.controllers.certificates.requests import REQUESTS, OfRequests
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta

DECIDED_SECONDS = 3600
"""How long a request that was answered, for good or ill, stays."""
OPEN_SECONDS = 24 * 3600
"""How long one stays that nobody answered."""


class CertificateCleaning(OfRequests):
    """Deletes what is over."""

    name = "csrcleaner"
    workers = 1

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Delete the request, or wait until it is time to."""
        request = view.get(*REQUESTS, *key)
        if request is None or meta.is_deleting(request):
            return NOTHING
        left = end_of(request) - moment.now
        if left > 0:
            return Plan(again_after=left)
        return Plan((Delete(Ref(*REQUESTS, *key), meta.uid(request)),))


def end_of(request: Object) -> float:
    """When a request is no longer needed, in seconds since the epoch."""
    status = request.get("status") or {}
    given = status.get("conditions") or ()
    issued = status.get("certificate")
    ends = []
    for kind, seconds in (
        ("Denied", DECIDED_SECONDS),
        ("Failed", DECIDED_SECONDS),
        ("Approved", DECIDED_SECONDS if issued else OPEN_SECONDS),
    ):
        found = conditions.find(given, kind)
        if found is not None:
            ends.append(instants.seconds(found.get("lastUpdateTime"), float("inf")) + seconds)
    if not given:
        ends.append(instants.seconds(request["metadata"].get("creationTimestamp"), float("inf")) + OPEN_SECONDS)
    if issued:
        ends += _expiry(issued)
    return min(ends, default=float("inf"))


def _expiry(encoded: str) -> list[float]:
    try:
        return [x509.load_pem_x509_certificate(base64.b64decode(encoded)).not_valid_after_utc.timestamp()]
    except ValueError:
        # another signer's idea of a certificate
        return []
