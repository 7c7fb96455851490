"""HTTPS to webhooks: connections are kept, certificates are checked against the bundle of each webhook."""

import asyncio
import logging
import ssl
from functools import lru_cache

import aiohttp

from services.apiserver.admission.webhooks import addresses
from services.apiserver.admission.webhooks.hooks import Hook
from services.apiserver.store import Store

log = logging.getLogger(__name__)

MAX_ANSWER = 16 * 1024 * 1024
TRIES = 3
"""How many endpoints of a Service are tried before it counts as unreachable."""


class SendingFailed(Exception):
    """Nothing, or nothing useful, came back; the text says why in Go's words."""


class Sender:
    """Made within the event loop; `close` ends its connections."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), headers={"user-agent": "kube-apiserver-admission"}
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(self, hook: Hook, body: bytes) -> bytes:
        """The body of the answer. Unreachable, TimeoutError, SendingFailed."""
        try:
            return await self._post(hook, body)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as exc:
            raise SendingFailed(_reason(exc)) from exc

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
