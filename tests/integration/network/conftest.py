"""Clusters of node namespaces as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.network.harness import Cluster, underlay_of


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes without a pod network."""
    with underlay_of(tmp_path, 2) as cluster:
        yield cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three nodes with their pod networks."""
    with underlay_of(tmp_path, 3) as cluster:
        for node in cluster.nodes:
            await cluster.start_network(node)
        yield cluster
        for network in cluster.networks.values():
            await network.close()


@pytest.fixture
def nft(bare: Cluster) -> Callable[..., str]:
    """The `nft` program in the first node's namespace."""
    return lambda *arguments: bare.run(bare.namespace("node-1"), "nft", *arguments)
