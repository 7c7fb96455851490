"""A whole API server on the in-memory bus, so that rules are tested through the same door that clients use."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from services.apiserver.app import Parts, assemble, load_state
from services.apiserver.bootstrap import own_request
from services.apiserver.establishing import Establishing
from services.apiserver.http import to_raw
from services.apiserver.protocol import JSON, Event, Query, Request, Watching
from services.apiserver.settings import ApiSettings
from shared.bus.fake import FakeBroker
from shared.errors import ApiError
from shared.identity import tokens
from shared.identity.pki import ensure_pki
from shared.identity.tokens import TokenKey
from shared.identity.users import AUTHENTICATED, MASTERS, NODES, User
from shared.state.streams import ensure_streams

ADMIN = User("admin", (MASTERS, AUTHENTICATED))
ALICE = User("alice", (AUTHENTICATED,))
NODE = User("system:node:node-1", (NODES, AUTHENTICATED))
PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass
class MemoryApi:
    """`call` answers the decoded JSON of a success and raises the ApiError of a failure."""

    parts: Parts
    key: TokenKey
    broker: FakeBroker
    warnings: list[str] = field(default_factory=list)

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        user: User = ADMIN,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        parts = urlsplit(url)
        encoded = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        query = Query(parse_qs(parts.query, keep_blank_values=True))
        return Request(user, method, parts.path, query, {"content-type": JSON, **(headers or {})}, encoded)

    async def call(self, method: str, url: str, body: Any = None, **options: Any) -> Any:
        request = self.request(method, url, body, **options)
        outcome = await self.parts.pipeline.handle(request)
        self.warnings = request.warnings
        assert not isinstance(outcome, Watching)
        raw = to_raw(request, outcome)  # type: ignore[arg-type]
        return msgspec.json.decode(raw.whole) if raw.content_type.startswith(JSON) else raw.whole

    async def get(self, url: str, **options: Any) -> Any:
        return await self.call("GET", url, **options)

    async def create(self, url: str, body: Any, **options: Any) -> Any:
        return await self.call("POST", url, body, **options)

    async def update(self, url: str, body: Any, **options: Any) -> Any:
        return await self.call("PUT", url, body, **options)

    async def patch(self, url: str, body: Any, kind: str = "merge", **options: Any) -> Any:
        return await self.call("PATCH", url, body, headers={"content-type": PATCHES[kind]}, **options)

    async def delete(self, url: str, body: Any = None, **options: Any) -> Any:
        return await self.call("DELETE", url, body, **options)

    async def code(self, method: str, url: str, body: Any = None, **options: Any) -> int:
        """The HTTP code of a call: 200 for whatever succeeds."""
        try:
            await self.call(method, url, body, **options)
        except ApiError as exc:
            return exc.code
        return 200

    async def failure(self, method: str, url: str, body: Any = None, **options: Any) -> ApiError:
        """The failure a call must end in."""
        try:
            answer = await self.call(method, url, body, **options)
        except ApiError as exc:
            return exc
        raise AssertionError(f"{method} {url} succeeded: {answer}")

    @asynccontextmanager
    async def watch(self, url: str, *, user: User = ADMIN) -> AsyncIterator["EventReader"]:
        joined = f"{url}{'&' if '?' in url else '?'}watch=true"
        outcome = await self.parts.pipeline.handle(self.request("GET", joined, user=user))
        assert isinstance(outcome, Watching)
        try:
            yield EventReader(outcome.batches)
        finally:
            outcome.close()


class EventReader:
    """Events of a watch, one by one."""

    def __init__(self, batches: AsyncIterator[list[Event]]) -> None:
        self._batches = batches
        self._pending: list[Event] = []

    async def next(self) -> Event:
        while not self._pending:
            self._pending = list(await anext(self._batches))
        return self._pending.pop(0)

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        found = [await self.next() for _ in range(count)]
        return [(one.type, one.object["metadata"].get("name", "")) for one in found]


@asynccontextmanager
async def memory_api(directory: Path) -> AsyncIterator[MemoryApi]:
    """A started server with its bootstrap objects."""
    pki = ensure_pki(directory, addresses=["127.0.0.1"], names=["localhost"])
    key = tokens.load_key(pki.service_account_key)
    settings = ApiSettings(
        data=directory,
        addresses=(("127.0.0.1", 6443),),
        advertise=("10.89.0.1", 6443),
        not_ready_toleration=30,
        service_network=ipaddress.IPv4Network("10.96.0.0/16"),
        node_ports=range(30000, 32768),
    )
    async with FakeBroker() as broker:
        bus = broker.connect("apiserver")
        await ensure_streams(bus)
        async with asyncio.TaskGroup() as group:
            feeds: list[asyncio.Task[Any]] = []
            state = await load_state(bus, lambda coroutine, name: feeds.append(group.create_task(coroutine, name=name)))
            parts = await assemble(bus, state, settings, key, "a certificate")
            establishing = Establishing(parts.store, parts.pipeline.writer, own_request())
            feeds.append(group.create_task(establishing.run(), name="establishing"))
            try:
                yield MemoryApi(parts, key, broker)
            finally:
                state.catalog.close()
            await parts.pipeline.writer.admission.extensions.close()
            for feed in feeds:
                feed.cancel()
