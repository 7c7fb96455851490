"""The fake broker passes the suite of the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.brokers import TestBroker, fake_broker
from tests.fakes.bus_suite import CoreSuite, StreamSuite


@pytest.fixture
async def broker() -> AsyncIterator[TestBroker]:
    async with fake_broker() as broker:
        yield broker


class TestCore(CoreSuite):
    pass


class TestStreams(StreamSuite):
    pass
