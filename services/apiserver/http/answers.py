"""Outcomes and failures -> the bytes of HTTP/1.1 answers (RFC 9112)."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from services.apiserver import instruments, negotiation, render
from services.apiserver.audit.ids import audit_id, fresh_id
from services.apiserver.failures import status_of
from services.apiserver.negotiation import Accepted
from services.apiserver.protocol import JSON, Document, Item, Listing, Outcome, Raw, Request
from shared.errors import ApiError, NotAcceptable

DEFAULT_HEADERS = (("Cache-Control", "no-cache, private"),)
# a larger body goes out by itself: copying it behind its head would cost more than a second TLS record
JOINED_BYTES = 16 << 10
# what is written before the client is given the chance to take some of it
PIECE_BYTES = 128 << 10
WARNINGS_LENGTH = 4096
# records of a list that are made ready in one turn of the loop: about three milliseconds
PORTION = 64
LAST_CHUNK = b"0\r\n\r\n"
NO_BODY = (204, 304)


def to_raw(request: Request, outcome: Item | Listing | Document | Raw) -> Raw:
    """An outcome in the form the client accepts."""
    if isinstance(outcome, Raw):
        return outcome
    typed = isinstance(outcome, Document) or outcome.resource.schema.custom is None
    accepted = negotiation.accept(request.headers.get("accept", ""), protobuf=typed)
    if isinstance(outcome, Item):
        return render.item(outcome, accepted, request.query)
    if isinstance(outcome, Listing):
        return render.listing(outcome, accepted, request.query)
    return render.document(outcome, accepted)


async def prepare(request: Request, outcome: Outcome) -> None:
    """Make what a long list is joined of in portions, so that nobody waits for all of it: five thousand rows that are
    made for the first time take a third of a second."""
    if not isinstance(outcome, Listing) or len(outcome.records) <= PORTION:
        return
    accepted = negotiation.accept(request.headers.get("accept", ""), protobuf=outcome.resource.schema.custom is None)
    for start in range(0, len(outcome.records), PORTION):
        if render.make_ready(outcome, start, start + PORTION, accepted):
            await asyncio.sleep(0)


def failure(request: Request | None, error: ApiError, *, method: str = "GET") -> Raw:
    """The `Status` of a failure, in the form the client accepts."""
    accepted = Accepted(JSON)
    if request is not None:
        with contextlib.suppress(NotAcceptable):
            accepted = Accepted(negotiation.accept(request.headers.get("accept", "")).media)
    body = b"" if method == "HEAD" else render.encode(status_of(error), accepted.media)
    retry = (error.details or {}).get("retryAfterSeconds")
    headers = (("Retry-After", str(retry)),) if retry else ()
    return Raw(body, accepted.media, error.code, headers)


def headers(request: Request | None, raw: Raw) -> list[tuple[str, str]]:
    """The headers that tell of the answer's content and of the warnings on the way."""
    found = [("Content-Type", raw.content_type)] if raw.content_type else []
    present = {name for name, _ in raw.headers}
    found += [*raw.headers, *(one for one in DEFAULT_HEADERS if one[0] not in present)]
    room = WARNINGS_LENGTH
    for warning in dict.fromkeys(request.warnings if request is not None else ()):
        room -= len(warning)
        if room < 0:
            # kube-apiserver stops there as well: a client takes only so long headers
            break
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
        found.append(("Warning", f'299 - "{text}"'))
    return found


def complete(request: Request | None, raw: Raw, *, close: bool) -> Iterable[bytes | memoryview]:
    """A whole answer in the pieces to write, each to be made when the one before has been taken."""
    if raw.headers or (request is not None and request.warnings):
        head = _head(raw.status, headers(request, raw))
    else:
        head = _plain_head(raw.status, raw.content_type)
    size = sum(map(len, raw.parts)) if raw.parts else len(raw.body)
    headless = raw.status in NO_BODY or (request is not None and request.method == "HEAD")
    length = b"" if headless else b"Content-Length: %d\r\n" % size
    end = b"Audit-Id: %b\r\n%b\r\n" % (_identity(request), b"Connection: close\r\n" if close else b"")
    if size <= JOINED_BYTES:
        return (b"%b%b%b%b%b" % (head, _date(), length, end, raw.whole),)
    return _pieces(b"%b%b%b%b" % (head, _date(), length, end), raw)


def plain(body: bytes) -> tuple[bytes, ...]:
    """What `complete` makes of an object as JSON, with status 200 and nothing else to say: the answer to most gets."""
    parts = (_plain_head(200, JSON), _date(), len(body), fresh_id().encode())
    head = b"%b%bContent-Length: %d\r\nAudit-Id: %b\r\n\r\n" % parts
    return (head + body,) if len(body) <= JOINED_BYTES else (head, body)


def _pieces(head: bytes, raw: Raw) -> Iterator[bytes | memoryview]:
    """Pieces that stay in the processor's cache on their way through TLS: a body of megabytes in one write is copied
    from memory to memory four times, while the client waits for the first byte and all other requests as well."""
    if not raw.parts:
        yield head
        body = memoryview(raw.body)
        for start in range(0, len(body), PIECE_BYTES):
            yield body[start : start + PIECE_BYTES]
        return
    piece: list[bytes | memoryview] = [head]
    size = 0
    for part in raw.parts:
        piece.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


def streamed(request: Request, begun: Raw, *, chunked: bool) -> bytes:
    """The head of an answer whose end is not known; without chunks, the end of the connection ends it."""
    how = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Connection: close\r\n\r\n"
    identity = b"Audit-Id: %b\r\n" % _identity(request)
    return _head(begun.status, headers(request, begun)) + _date() + identity + how


def record(request: Request, code: int, seconds: float) -> None:
    """Count a request in the metrics."""
    target = request.target
    if target is None:
        return
    resource, subresource = target.resource, target.subresource_name
    verb = request.verb.upper()
    instruments.counted(verb, resource.group, resource.version, resource.plural, subresource, code).inc()
    if request.verb != "watch" and subresource not in ("exec", "attach", "portforward", "log"):
        instruments.timed(verb, resource.group, resource.plural).observe(seconds)


@lru_cache(maxsize=256)
def _plain_head(status: int, content_type: str) -> bytes:
    return _head(status, headers(None, Raw(b"", content_type)))


def _head(status: int, listed: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    lines += [f"{name}: {value}" for name, value in listed]
    # what a client wrote may come back in a warning
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _identity(request: Request | None) -> bytes:
    return audit_id(request).encode("utf-8", "replace")


def _date() -> bytes:
    return _date_line(int(time.time()))


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
