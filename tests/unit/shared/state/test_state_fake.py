"""The state log over the fake broker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.brokers import TestBroker, fake_broker
from tests.fakes.history_suite import HistorySuite
from tests.fakes.state_suite import LeaseSuite, LogSuite


@pytest.fixture
async def broker() -> AsyncIterator[TestBroker]:
    async with fake_broker() as broker:
        yield broker


class TestLog(LogSuite):
    pass


class TestLeases(LeaseSuite):
    pass


class TestHistory(HistorySuite):
    pass
