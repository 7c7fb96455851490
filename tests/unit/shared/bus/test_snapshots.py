"""Streams are put back by the server's protocol, also on servers that have not heard of each other yet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.bus import snapshots
from shared.bus.fake import FakeBroker, FakeBus
from shared.bus.port import Headers, Message, Received
from shared.bus.snapshots import Snapshot
from shared.errors import BrokerError
from tests.slowness import LIMIT_S

NO_PEERS = {"err_code": 10005, "description": "no suitable peers for placement, peer offline"}
NO_STORAGE = {"err_code": 10047, "description": "insufficient storage resources available"}


class RestoringBus(FakeBus):
    """A connection to a server that takes a stream back, after a number of errors."""

    def __init__(self, broker: FakeBroker) -> None:
        super().__init__(broker, "admin")
        self.errors: list[dict[str, object]] = []
        self.content = b""

    async def call(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, timeout: float = 5.0
    ) -> Message:
        answer: dict[str, object] | None = None
        if subject == "$JS.API.STREAM.RESTORE.GOODS":
            answer = {"error": self.errors.pop(0)} if self.errors else {"deliver_subject": "restore.goods"}
        elif subject == "$JS.API.STREAM.INFO.GOODS":
            answer = {"state": {"last_seq": 7}}
        else:
            assert subject == "restore.goods"
            self.content += data
        return Received("", "", json.dumps(answer).encode(), None)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RestoringBus]:
    monkeypatch.setattr(snapshots, "RETRY_S", 0.01)
    async with FakeBroker() as broker:
        bus = RestoringBus(broker)
        yield bus
        await bus.close()


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    path = tmp_path / "goods"
    path.write_bytes(b"everything")
    return Snapshot({"name": "GOODS"}, {"last_seq": 7}, path)


async def test_servers_that_have_not_heard_of_each_other_are_offered_a_stream_again(
    server: RestoringBus, snapshot: Snapshot
) -> None:
    server.errors = [NO_PEERS, NO_PEERS]
    async with asyncio.timeout(LIMIT_S):
        state = await snapshots.put_back(server, snapshot, 3)
    assert state == {"last_seq": 7}
    assert server.content == b"everything"


async def test_another_refusal_of_a_stream_is_final(server: RestoringBus, snapshot: Snapshot) -> None:
    server.errors = [NO_STORAGE]
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(BrokerError, match="insufficient storage"):
            await snapshots.put_back(server, snapshot, 3)
    assert server.content == b""
