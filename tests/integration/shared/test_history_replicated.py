"""The history over three servers, where the reader of a stream may be a replica that lags behind."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.brokers import RealTestBroker, TestBroker
from tests.fakes.history_suite import HistorySuite
from tests.fakes.nats_cluster import NatsCluster


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[TestBroker]:
    with NatsCluster(tmp_path / "bus") as servers:
        async with contextlib.AsyncExitStack() as stack:
            # connecting is all that the suite asks for, and that is the same for one server and for three
            yield RealTestBroker(servers, stack, len(servers.members))  # type: ignore[arg-type]


class TestHistory(HistorySuite):
    pass
