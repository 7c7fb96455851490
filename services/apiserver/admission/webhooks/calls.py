"""Asking webhooks: the question, and what is made of the answer or of its absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.webhooks import addresses, reviews
from services.apiserver.admission.webhooks.hooks import Hook
from services.apiserver.admission.webhooks.reviews import BadReview, Verdict
from services.apiserver.store import Store
from shared.objects import json
from shared.objects.registry import Resource

if TYPE_CHECKING:
    from services.apiserver.admission.webhooks.sending import Sender


class CallFailed(Exception):
    """A webhook could not be asked, or answered nonsense; the text is Kubernetes' wording."""


class Caller:
    """Sends reviews. Opens its connections when the first one is sent; `close` ends them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sender: Sender | None = None

    async def close(self) -> None:
        """Close all connections."""
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()

    async def ask(self, hook: Hook, asked: Attributes, matched: Resource, *, mutating: bool) -> Verdict:
        """What a webhook says to an operation; CallFailed if it says nothing, or nothing that makes sense."""
        # an HTTP client of twelve megabytes: many a cluster has no webhooks
        from services.apiserver.admission.webhooks.sending import Sender, SendingFailed

        if self._sender is None:
            self._sender = Sender(self._store)
        review = reviews.question(asked, matched, hook.version)
        try:
            body = await self._sender.post(hook, json.encode(review))
        except addresses.Unreachable as exc:
            raise CallFailed(_unasked(hook, f'Post "{_shown_url(hook)}": {exc}')) from exc
        except TimeoutError as exc:
            raise CallFailed(_unasked(hook, f'Post "{_shown_url(hook)}": context deadline exceeded')) from exc
        except SendingFailed as exc:
            raise CallFailed(_unasked(hook, f'Post "{_shown_url(hook)}": {exc}')) from exc
        try:
            verdict = reviews.answer(review, body, mutating=mutating)
        except BadReview as exc:
            raise CallFailed(f'failed calling webhook "{hook.name}": received invalid webhook response: {exc}') from exc
        asked.request.warnings.extend(verdict.warnings)
        for key, value in verdict.annotations.items():
            asked.request.note(f"{hook.name}/{key}", value)
        return verdict


def _unasked(hook: Hook, why: str) -> str:
    return f'failed calling webhook "{hook.name}": failed to call webhook: {why}'


def _shown_url(hook: Hook) -> str:
    if hook.service is None:
        return f"{hook.url}?timeout={hook.timeout}s"
    service = hook.service
    return f"https://{service.name}.{service.namespace}.svc:{service.port}{service.path}?timeout={hook.timeout}s"
