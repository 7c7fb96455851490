"""A server for all tests of a module, each of which finds it as a new one: starting one costs far more than a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    """A server and its broker (`nats`). Tests get it by `kept`."""
    broker, cluster = tmp_path_factory.mktemp("nats"), tmp_path_factory.mktemp("cluster")
    with NatsServer(broker) as nats, ApiServerProcess(nats, cluster) as started:
        yield started


@pytest.fixture
def kept(running: ApiServerProcess) -> Iterator[ApiServerProcess]:
    """The module's server; afterwards it is started again if the test ended it, and the test's objects are removed."""
    yield running
    running.restore()
