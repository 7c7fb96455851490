"""Requests, watches and byte streams over nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.api_suite import ByteStreamSuite, RequestSuite, WatchSuite
from tests.fakes.brokers import TestBroker, real_broker
from tests.fakes.nats import NatsServer


@pytest.fixture
async def broker(nats_server: NatsServer) -> AsyncIterator[TestBroker]:
    async with real_broker(nats_server) as broker:
        yield broker


class TestRequests(RequestSuite):
    pass


class TestWatches(WatchSuite):
    pass


class TestByteStreams(ByteStreamSuite):
    pass
