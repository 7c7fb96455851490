"""Container logs, as bytes that a node's agent sends over the bus: chunked text, or frames of a WebSocket."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.apiserver.failures import bad_request, invalid
from services.apiserver.protocol import Object, Outcome, Raw, Request, Stream, Upgrade
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.streaming.places import choose_container, place_of
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import StreamBroken
from shared.objects import times
from shared.objects.validation import Cause

if TYPE_CHECKING:
    from aiohttp import web

STDOUT = 1
PLAIN = "text/plain"
BASE64_PROTOCOL = "base64.binary.k8s.io"
WEBSOCKET_PROTOCOLS = ("binary.k8s.io", BASE64_PROTOCOL)


@dataclass(frozen=True, slots=True)
class Logs:
    """Serves pods/NAME/log."""

    bus: Bus
    store: Store

    async def get(self, request: Request, target: Target) -> Outcome:
        pod = (await self.store.latest(target.resource, target.namespace, target.name)).object
        query = request.query
        options = _options(request)
        container = choose_container(pod, query.get("container"))
        if not pod["spec"].get("nodeName"):
            # nothing can have been written yet
            return Raw(b"", "", 204)
        place = place_of(pod, container)
        stream = await open_stream(self.bus, place.node, "logs", place.parameters() | options)
        if request.headers.get("upgrade", "").lower() == "websocket":
            return Upgrade(WEBSOCKET_PROTOCOLS, lambda connection: _send(stream, connection))
        return Stream(_chunks(stream), PLAIN, stream.close)


def _options(request: Request) -> Object:
    query = request.query
    options: Object = {name: query.flag(name) for name in ("follow", "previous", "timestamps")}
    causes = []
    for name, least in (("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)):
        text = query.get(name)
        if not text:
            continue
        try:
            options[name] = int(text)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax ({name})') from None
        if options[name] < least:
            cause = f"Invalid value: {text}: must be greater than {'or equal to ' if least == 0 else ''}0"
            causes.append(Cause("FieldValueInvalid", cause, name))
    if query.get("sinceTime"):
        try:
            times.parse(query.get("sinceTime"))
        except ValueError as exc:
            raise bad_request(f"sinceTime: {exc}") from exc
        options["sinceTime"] = query.get("sinceTime")
    if "sinceTime" in options and "sinceSeconds" in options:
        cause = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(Cause("FieldValueForbidden", cause, "sinceSeconds"))
    if causes:
        raise invalid("", "PodLogOptions", "", causes)
    return options


async def _chunks(stream: BusStream) -> AsyncIterator[bytes]:
    try:
        async for channel, data in stream:
            if channel == STDOUT and data:
                yield data
    except StreamBroken as exc:
        # the status line is long gone: the text itself must tell that it is not complete
        yield f"\nerror: the log stream broke: {exc}\n".encode()


async def _send(stream: BusStream, connection: web.WebSocketResponse) -> None:
    try:
        async for data in _chunks(stream):
            if connection.ws_protocol == BASE64_PROTOCOL:
                await connection.send_str(base64.b64encode(data).decode("ascii"))
            else:
                await connection.send_bytes(data)
    finally:
        await stream.close()
