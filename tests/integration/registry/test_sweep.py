"""Collecting what no manifest needs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.registry.app import Server
from services.registry.chunks import Chunks
from services.registry.keys import Keys, key
from services.registry.sweep import Sweep, Swept
from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.images import digests
from shared.images.manifests import OCI_MANIFEST
from tests.fakes.nats import NatsServer
from tests.unit.shared.images import archives


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def push(server: Server, data: bytes) -> str:
    uploads = server.repositories.uploads
    upload = await uploads.start("app")
    await uploads.append(upload, once(data))
    await uploads.finish(upload, digests.of(data))
    return digests.of(data)


def sweeper(bus: Connection, server: Server, grace: float) -> Sweep:
    jetstream = JetStream(bus)
    return Sweep(Keys(jetstream), Chunks(bus, jetstream), server.repositories, grace)


async def test_a_push_that_is_finished_twice_keeps_its_blob(nats_server: NatsServer) -> None:
    async with connect(nats_server.settings("registry"), "r") as bus, Server(bus, "127.0.0.1", 0) as server:
        uploads = server.repositories.uploads
        upload = await uploads.start("app")
        await uploads.append(upload, once(b"layer"))
        digest = digests.of(b"layer")
        # a client that got no answer in time asks again, and both requests have the same upload
        await uploads.finish(upload, digest)
        await uploads.finish(upload, digest)
        blob = await server.repositories.blob("app", digest)
        assert b"".join([part async for part in server.repositories.read(blob, 0, blob.size)]) == b"layer"


async def test_blobs_of_a_repository_with_a_manifest_that_cannot_be_read_stay(nats_server: NatsServer) -> None:
    async with connect(nats_server.settings("registry"), "r") as bus, Server(bus, "127.0.0.1", 0) as server:
        digest = await push(server, b"layer")
        await Keys(JetStream(bus)).put(key("m", "app", digests.of(b"?")), b"no manifest", OCI_MANIFEST)
        assert await sweeper(bus, server, grace=0).run() == Swept(0, 0, 0)
        assert (await server.repositories.blob("app", digest)).size == 5


async def test_only_what_is_old_and_unreferenced_goes(nats_server: NatsServer) -> None:
    async with connect(nats_server.settings("registry"), "r") as bus, Server(bus, "127.0.0.1", 0) as server:
        image = archives.image(archives.tar(archives.entry("a", data=b"kept")))
        for data in image.blobs.values():
            await push(server, data)
        await server.repositories.put_manifest("app", "1", image.manifest, OCI_MANIFEST)
        orphan = await push(server, b"orphan")
        upload = await server.repositories.uploads.start("app")
        await server.repositories.uploads.append(upload, once(b"abandoned"))

        assert await sweeper(bus, server, grace=3600).run() == Swept(0, 0, 0)
        assert await sweeper(bus, server, grace=0).run() == Swept(1, 1, 1)
        assert await sweeper(bus, server, grace=0).run() == Swept(0, 0, 0)

        chunks = Chunks(bus, JetStream(bus))
        assert await chunks.find(orphan) is None
        for digest in image.blobs:
            blob = await server.repositories.blob("app", digest)
            assert b"".join([part async for part in chunks.read(blob, 0, blob.size)]) == image.blobs[digest]
