"""nats-server passes the suite of the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.brokers import TestBroker, real_broker
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
