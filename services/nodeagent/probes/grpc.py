"""A gRPC health check (grpc.health.v1) in the few HTTP/2 frames that it takes.

Only one question is asked and only one answer counts (a message with status SERVING), so responses' headers are never
decoded and no HPACK state is needed: requests use literal fields without indexing. Source: RFC 9113, RFC 7541
section 6.2, gRPC over HTTP2, the gRPC health checking protocol.
"""

import asyncio
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK, _END_STREAM, _END_HEADERS, _PADDED = 1, 1, 4, 8
_FRAME_LIMIT = 1 << 20
_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class GrpcFailure(Exception):
    """The service is not serving, or did not answer as a health service does."""


async def check(host: str, port: int, service: str, limit: str) -> None:
    """Return if `service` ("" for the server as a whole) is SERVING; the caller sets the time limit, `limit` as text.

    Raises GrpcFailure.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as exc:
        # Go's client goes on dialling until its time is up
        why = f"within {limit}: context deadline exceeded"
        raise GrpcFailure(f'timeout: failed to connect service "{host}:{port}" {why}') from exc
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _question(f"{host}:{port}", service))
        status = await _answer(reader, writer)
    except (OSError, asyncio.IncompleteReadError) as exc:
        raise GrpcFailure(f'error: failed to connect service at "{host}:{port}": connection closed') from exc
    finally:
        writer.transport.abort()
    if status != 1:
        raise GrpcFailure(f'service unhealthy (responded with "{_STATUS.get(status, status)}")')


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _question(authority: str, service: str) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/1.36"),
    )
    headers = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    body = b"\0" + struct.pack(">I", len(message)) + message
    return _frame(_HEADERS, _END_HEADERS, 1, headers) + _frame(_DATA, _END_STREAM, 1, body)


def _text(text: str) -> bytes:
    """An HPACK string literal without Huffman coding; lengths of 127 and more continue (RFC 7541 section 5.1)."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    return b"\x7f" + _varint(len(data) - 127) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The status in the response message. Raises GrpcFailure if the stream ends without one."""
    message = bytearray()
    while True:
        head = await reader.readexactly(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        if length > _FRAME_LIMIT:
            raise GrpcFailure("the server does not speak HTTP/2")
        payload = await reader.readexactly(length)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA and stream == 1:
            message += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
            if len(message) >= 5 and len(message) >= 5 + int.from_bytes(message[1:5], "big"):
                return _status(bytes(message[5 : 5 + int.from_bytes(message[1:5], "big")]))
        elif kind in (_RST_STREAM, _GOAWAY):
            raise GrpcFailure("the server refused the call")
        if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
            raise GrpcFailure("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)")


def _status(message: bytes) -> int:
    """Field 1 of HealthCheckResponse; a message without it says UNKNOWN."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
