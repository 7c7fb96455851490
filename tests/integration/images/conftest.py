"""Registries to pull from: ours on a real broker, Debian's docker-registry, and one that misbehaves on command."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from services.nodeagent.images.model import Registries
from services.nodeagent.images.store import ImageStore
from services.registry.app import Server
from shared.bus.connection import connect
from shared.images.client import Repository
from shared.images.endpoint import Endpoint
from shared.images.errors import RegistryUnavailable
from shared.images.manifests import Descriptor
from tests.fakes.nats import NatsServer, free_port
from tests.integration.images.misbehaving import MisbehavingRegistry
from tests.slowness import LIMIT_S
from tests.unit.shared.images.archives import TestImage

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


def push(registry: str, name: str, image: TestImage, tag: str = "1") -> None:
    """Upload an image with our own client."""
    endpoint = Endpoint(registry, plain=True)
    repository = Repository(endpoint, name)
    for digest, data in image.blobs.items():
        repository.push_blob(Descriptor("", digest, len(data)), lambda data=data: io.BytesIO(data))  # type: ignore[misc]
    repository.put_manifest(tag, image.manifest, image.media_type)
    endpoint.close()


@pytest.fixture
async def own_registry(nats_server: NatsServer) -> AsyncIterator[str]:
    """host:port of the cluster's kind of registry."""
    async with connect(nats_server.settings("registry"), "registry") as bus, Server(bus, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[str]:
    """host:port of Debian's docker-registry."""
    binary = shutil.which("docker-registry")
    if binary is None:
        pytest.skip("docker-registry is not installed")
    port = free_port()
    path = tmp_path / "registry.yml"
    path.write_text(CONFIG.format(root=tmp_path / "registry", port=port))
    with (tmp_path / "registry.log").open("wb") as output:
        process = subprocess.Popen([binary, "serve", str(path)], stdout=output, stderr=output)
    try:
        _wait_until_it_answers(f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(registry: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        endpoint = Endpoint(registry, plain=True, pause=lambda _: None)
        try:
            endpoint.call("GET", "/v2/", scope="").read()
            return
        except RegistryUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            endpoint.close()


@pytest.fixture
def misbehaving() -> Iterator[MisbehavingRegistry]:
    """A small registry in a thread that can break off, lie, ask for tokens, and count."""
    with MisbehavingRegistry() as registry:
        yield registry


@pytest.fixture
async def make_store(tmp_path: Path) -> AsyncIterator[Callable[[str], ImageStore]]:
    """Makes image stores on the same directory, as restarts of the agent do."""
    stores: list[ImageStore] = []

    def make(cluster: str) -> ImageStore:
        store = ImageStore(tmp_path / "images", Registries(cluster=cluster, timeout=10))
        stores.append(store)
        return store

    yield make
    for store in stores:
        await asyncio.to_thread(store.close)
