"""Asking webhooks over HTTPS: connections are kept, certificates are checked against the bundle of each webhook."""

import asyncio
import logging
import ssl
from functools import lru_cache

import aiohttp

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.webhooks import addresses, reviews
from services.apiserver.admission.webhooks.hooks import Hook
from services.apiserver.admission.webhooks.reviews import BadReview, Verdict
from services.apiserver.store import Store
from shared.objects import json
from shared.objects.registry import Resource

log = logging.getLogger(__name__)

MAX_ANSWER = 16 * 1024 * 1024
TRIES = 3
"""How many endpoints of a Service are tried before it counts as unreachable."""


class CallFailed(Exception):
    """A webhook could not be asked, or answered nonsense; the text is Kubernetes' wording."""


class Caller:
    """Sends reviews. Opens its connections when the first one is sent; `close` ends them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, hook: Hook, asked: Attributes, matched: Resource, *, mutating: bool) -> Verdict:
        """What a webhook says to an operation; CallFailed if it says nothing, or nothing that makes sense."""
        review = reviews.question(asked, matched, hook.version)
        try:
            body = await self._post(hook, json.encode(review))
        except addresses.Unreachable as exc:
            raise CallFailed(_unasked(hook, f'Post "{_shown_url(hook)}": {exc}')) from exc
        except TimeoutError as exc:
            raise CallFailed(_unasked(hook, f'Post "{_shown_url(hook)}": context deadline exceeded')) from exc
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as exc:
            raise CallFailed(_unasked(hook, f'Post "{_shown_url(hook)}": {_reason(exc)}')) from exc
        try:
            verdict = reviews.answer(review, body, mutating=mutating)
        except BadReview as exc:
            raise CallFailed(f'failed calling webhook "{hook.name}": received invalid webhook response: {exc}') from exc
        asked.request.warnings.extend(verdict.warnings)
        for key, value in verdict.annotations.items():
            asked.request.note(f"{hook.name}/{key}", value)
        return verdict

    async def _post(self, hook: Hook, body: bytes) -> bytes:
        async with asyncio.timeout(hook.timeout):
            if hook.service is None:
                return await self._send(hook, hook.url, "", body)
            found = addresses.addresses_of(self._store, hook.service)[:TRIES]
            name = f"{hook.service.name}.{hook.service.namespace}.svc"
            for host, port in found[:-1]:
                try:
                    return await self._send(hook, f"https://{host}:{port}{hook.service.path}", name, body)
                except aiohttp.ClientConnectorError as exc:
                    log.info("webhook %s at %s:%d: %s", hook.name, host, port, exc)
            host, port = found[-1]
            return await self._send(hook, f"https://{host}:{port}{hook.service.path}", name, body)

    async def _send(self, hook: Hook, url: str, name: str, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None), headers={"user-agent": "kube-apiserver-admission"}
            )
        headers = {"content-type": "application/json", "accept": "application/json, */*"}
        if name:
            headers["host"] = name
        context = trust(hook.authority)
        query = {"timeout": f"{hook.timeout}s"}
        async with self._session.post(
            url,
            data=body,
            params=query,
            headers=headers,
            ssl=context,
            allow_redirects=False,
            server_hostname=name or None,
        ) as response:
            answer = await response.content.read(MAX_ANSWER + 1)
            while len(answer) <= MAX_ANSWER and not response.content.at_eof():
                answer += await response.content.read(MAX_ANSWER + 1)
        if response.status >= 300 or response.status < 200:
            text = answer[:2048].decode(errors="replace").strip()
            raise ValueError(f"the server answered {response.status} {response.reason}: {text}")
        if len(answer) > MAX_ANSWER:
            raise ValueError(f"the answer is larger than {MAX_ANSWER} bytes")
        return answer


@lru_cache(maxsize=256)
def trust(authority: bytes) -> ssl.SSLContext:
    """What certificates are accepted: those the bundle vouches for, or the system's authorities."""
    return ssl.create_default_context(cadata=authority.decode() if authority else None)


def _unasked(hook: Hook, why: str) -> str:
    return f'failed calling webhook "{hook.name}": failed to call webhook: {why}'


def _shown_url(hook: Hook) -> str:
    if hook.service is None:
        return f"{hook.url}?timeout={hook.timeout}s"
    service = hook.service
    return f"https://{service.name}.{service.namespace}.svc:{service.port}{service.path}?timeout={hook.timeout}s"


def _reason(exc: Exception) -> str:
    """As Go words it, where people and tools know the wording."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {exc.certificate_error}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        text = str(exc.os_error.strerror or exc.os_error).lower()
        if isinstance(exc.os_error, ConnectionRefusedError):
            text = "connection refused"
        return f"dial tcp {exc.host}:{exc.port}: connect: {text}"
    return str(exc) or type(exc).__name__
