"""Fixtures for tests against a real nats-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.nats import NatsServer


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A fresh broker with TLS and every kind of user: `url`, `ca`, `credentials`, `settings(user)`."""
    directory = tmp_path / "nats"
    directory.mkdir()
    with NatsServer(directory) as server:
        yield server
