"""A registry on a real broker, in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.registry.app import Server
from shared.bus.connection import connect
from tests.fakes.nats import NatsServer


@pytest.fixture
async def registry(nats_server: NatsServer) -> AsyncIterator[Server]:
    """Listens on a free port of 127.0.0.1, with the rights of the user `registry`."""
    async with connect(nats_server.settings("registry"), "registry") as bus, Server(bus, "127.0.0.1", 0) as server:
        yield server
