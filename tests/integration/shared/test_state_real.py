"""The state log over nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.brokers import TestBroker, real_broker
from tests.fakes.history_suite import HistorySuite
from tests.fakes.nats import NatsServer
from tests.fakes.state_suite import LeaseSuite, LogSuite


@pytest.fixture
async def broker(nats_server: NatsServer) -> AsyncIterator[TestBroker]:
    async with real_broker(nats_server) as broker:
        yield broker


class TestLog(LogSuite):
    pass


class TestLeases(LeaseSuite):
    pass


class TestHistory(HistorySuite):
    pass
