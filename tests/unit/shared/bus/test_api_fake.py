"""Requests, watches and byte streams over the fake broker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.api_suite import ByteStreamSuite, RequestSuite, WatchSuite
from tests.fakes.brokers import TestBroker, fake_broker


@pytest.fixture
async def broker() -> AsyncIterator[TestBroker]:
    async with fake_broker() as broker:
        yield broker


class TestRequests(RequestSuite):
    pass


class TestWatches(WatchSuite):
    pass


class TestByteStreams(ByteStreamSuite):
    pass
