"""Clusters of node namespaces as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.network.harness import Cluster, underlay_of
from tests.leaks import Leaks, no_leaks

__all__ = ["no_leaks"]


@pytest.fixture
def bare(tmp_path: Path, no_leaks: Leaks) -> Iterator[Cluster]:
    """Two nodes without a pod network."""
    with underlay_of(tmp_path, 2) as cluster:
        no_leaks.only(cluster.name)
        yield cluster


@pytest.fixture
async def cluster(tmp_path: Path, no_leaks: Leaks) -> AsyncIterator[Cluster]:
    """Three nodes with their pod networks."""
    with underlay_of(tmp_path, 3) as cluster:
        no_leaks.only(cluster.name)
        for node in cluster.nodes:
            await cluster.start_network(node)
        yield cluster
        for network in cluster.networks.values():
            await network.close()


@pytest.fixture
def nft(bare: Cluster) -> Callable[..., str]:
    """The `nft` program in the first node's namespace."""
    return lambda *arguments: bare.run(bare.namespace("node-1"), "nft", *arguments)
