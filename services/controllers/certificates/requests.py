"""What is common to the controllers of certificate requests."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import Key, Object
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta

REQUESTS = ("certificates.k8s.io", "certificatesigningrequests")


class OfRequests:
    """A controller whose keys are requests, each of which concerns itself alone."""

    def keys(self, view: View) -> Iterable[Key]:
        """Every request."""
        return [meta.key(one) for one in view.every(*REQUESTS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The request itself."""
        return [("", ref.name)] if ref[:2] == REQUESTS and obj is not None else []
