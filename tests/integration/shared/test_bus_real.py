"""nats-server passes the suite of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.bus.connection import connect
from tests.fakes.brokers import TestBroker, real_broker, wait_for
from tests.fakes.bus_suite import CoreSuite, StreamSuite
from tests.fakes.nats import NatsServer


@pytest.fixture
async def broker(nats_server: NatsServer) -> AsyncIterator[TestBroker]:
    async with real_broker(nats_server) as broker:
        yield broker


class TestCore(CoreSuite):
    pass


class TestStreams(StreamSuite):
    pass


async def test_a_broker_that_dies_is_no_reason_to_complain_of_tls(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(nats_server.settings("admin"), "test") as bus:
        for _ in range(2):
            nats_server.kill()
            await wait_for(lambda: not bus.connected)
            await asyncio.to_thread(nats_server.start)
            await wait_for(lambda: bus.connected)
        nats_server.kill()
        await wait_for(lambda: not bus.connected)
    assert "lost the connection" in caplog.text
    assert "eof_received" not in caplog.text
