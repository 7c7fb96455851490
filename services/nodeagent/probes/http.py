"""One HTTP GET, as probes and lifecycle hooks need it: HTTP/1.1 over a plain asyncio connection.

An HTTP client library would weigh more than the rest of the agent. Source: RFC 9112; kubelet's prober follows up to ten
redirects, but never to another host.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

USER_AGENT = "kube-probe/1.36"
BODY_LIMIT = 10 << 10
HEAD_LIMIT = 64 << 10
MOST_REDIRECTS = 10


class HttpFailure(Exception):
    """No usable answer; the text is for the event."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status code, and the first BODY_LIMIT bytes of the body."""

    code: int
    body: bytes
    location: str = ""


async def get(url: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """GET `url` (http or https; certificates are not verified). The caller sets the time limit.

    Raises HttpFailure, with the words that Go's client would use where users search for them.
    """
    first = urlsplit(url)
    for _ in range(MOST_REDIRECTS + 1):
        answer = await _once(url, headers)
        if answer.code not in (301, 302, 303, 307, 308) or not answer.location:
            return answer
        url = urljoin(url, answer.location)
        if urlsplit(url).hostname != first.hostname:
            return answer
    raise HttpFailure(f'Get "{url}": stopped after {MOST_REDIRECTS} redirects')


async def _once(url: str, headers: Sequence[tuple[str, str]]) -> Answer:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=_unverified() if secure else None, limit=HEAD_LIMIT
        )
    except OSError as exc:
        word = "connection refused" if isinstance(exc, ConnectionRefusedError) else str(exc)
        raise HttpFailure(f'Get "{url}": dial tcp {host}:{port}: connect: {word}') from exc
    try:
        writer.write(_request(parts.netloc, parts.path or "/", parts.query, headers))
        await writer.drain()
        return await _read(reader)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as exc:
        raise HttpFailure(f'Get "{url}": {_word(exc)}') from exc
    finally:
        writer.transport.abort()


def _word(exc: Exception) -> str:
    return "EOF" if isinstance(exc, asyncio.IncompleteReadError) else str(exc) or type(exc).__name__


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(authority: str, path: str, query: str, headers: Sequence[tuple[str, str]]) -> bytes:
    own = {"host": ("Host", authority), "user-agent": ("User-Agent", USER_AGENT), "accept": ("Accept", "*/*")}
    given = [(name, value) for name, value in headers if "\r" not in name + value and "\n" not in name + value]
    for name, _ in given:
        own.pop(name.lower(), None)
    # an empty value of these two means to leave the header out (kubelet's prober)
    sent = [(n, v) for n, v in given if v or n.lower() not in ("accept", "user-agent")]
    lines = [f"GET {path}{'?' + query if query else ''} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (*own.values(), *sent)]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode()


async def _read(reader: asyncio.StreamReader) -> Answer:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.split("\r\n")
        version, _, rest = start.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f'malformed HTTP response "{start[:80]}"')
        code = int(rest[:3])
        if code >= 200:
            break
    fields: Mapping[str, str] = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    return Answer(code, await _body(reader, fields), fields.get("location", ""))


async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    length = fields.get("content-length")
    limit = BODY_LIMIT if length is None else min(int(length), BODY_LIMIT)
    body = bytearray()
    while len(body) < limit and (data := await reader.read(limit - len(body))):
        body += data
    return bytes(body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while len(body) < BODY_LIMIT:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            break
        wanted = min(size, BODY_LIMIT - len(body))
        body += await reader.readexactly(wanted)
        if wanted < size:
            break
        await reader.readexactly(2)
    return bytes(body)
