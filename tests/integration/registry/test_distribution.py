"""The distribution API, endpoint by endpoint, as the specification numbers them."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from services.registry import chunks
from services.registry.app import Server
from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.images import digests, manifests
from shared.images.manifests import OCI_INDEX, OCI_MANIFEST, Descriptor
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S
from tests.unit.shared.images import archives

BIG = os.urandom(chunks.CHUNK_BYTES * 3 + 4321)


@pytest.fixture
async def http(registry: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{registry.port}", auto_decompress=False) as session:
        yield session


async def call(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any, bytes]:
    if isinstance(options.get("data"), bytes):
        options["data"] = io.BytesIO(options["data"])  # aiohttp warns of large bytes
    async with http.request(method, path, allow_redirects=False, **options) as response:
        return response.status, response.headers, await response.read()


@asynccontextmanager
async def restarted(nats_server: NatsServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A registry of its own with a client."""
    async with (
        connect(nats_server.settings("registry"), "registry") as bus,
        Server(bus, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http,
    ):
        yield http


async def push(http: aiohttp.ClientSession, data: bytes, repository: str = "app") -> str:
    digest = digests.of(data)
    path = f"/v2/{repository}/blobs/uploads/?digest={digest}"
    status, _, body = await call(http, "POST", path, data=data)
    assert status == 201, body
    return digest


async def push_image(http: aiohttp.ClientSession, tag: str, repository: str = "app", content: str = "x") -> str:
    image = archives.image(archives.tar(archives.entry(content, data=content.encode())))
    for data in image.blobs.values():
        await push(http, data, repository)
    path = f"/v2/{repository}/manifests/{tag}"
    status, headers, body = await call(http, "PUT", path, data=image.manifest, headers={"Content-Type": OCI_MANIFEST})
    assert status == 201, body
    assert headers["Docker-Content-Digest"] == image.digest
    return image.digest


def code(body: bytes) -> str:
    return str(manifests.decode(body, "error")["errors"][0]["code"])


async def test_the_api_says_that_it_is_there(http: aiohttp.ClientSession) -> None:
    status, headers, _ = await call(http, "GET", "/v2/")
    assert (status, headers["Docker-Distribution-API-Version"]) == (200, "registry/2.0")


async def test_a_blob_comes_back_as_it_was_pushed(http: aiohttp.ClientSession) -> None:
    digest = await push(http, BIG)
    status, headers, body = await call(http, "GET", f"/v2/app/blobs/{digest}")
    assert (status, headers["Docker-Content-Digest"], body) == (200, digest, BIG)
    status, headers, body = await call(http, "HEAD", f"/v2/app/blobs/{digest}")
    assert (status, headers["Content-Length"], body) == (200, str(len(BIG)), b"")


async def test_an_empty_blob_is_a_blob(http: aiohttp.ClientSession) -> None:
    digest = await push(http, b"")
    assert (await call(http, "GET", f"/v2/app/blobs/{digest}"))[::2] == (200, b"")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, len(BIG)),
        ("bytes=-7", len(BIG) - 7, len(BIG)),
        (
            f"bytes={chunks.CHUNK_BYTES - 2}-{chunks.CHUNK_BYTES * 2 + 1}",
            chunks.CHUNK_BYTES - 2,
            chunks.CHUNK_BYTES * 2 + 2,
        ),
        ("bytes=10-999999999", 10, len(BIG)),
    ],
)
async def test_a_range_gives_those_bytes(http: aiohttp.ClientSession, header: str, start: int, stop: int) -> None:
    digest = await push(http, BIG)
    status, headers, body = await call(http, "GET", f"/v2/app/blobs/{digest}", headers={"Range": header})
    assert (status, headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{len(BIG)}")
    assert body == BIG[start:stop]


async def test_a_range_outside_is_refused(http: aiohttp.ClientSession) -> None:
    digest = await push(http, b"abc")
    status, headers, _ = await call(http, "GET", f"/v2/app/blobs/{digest}", headers={"Range": "bytes=3-"})
    assert (status, headers["Content-Range"]) == (416, "bytes */3")


async def test_an_upload_in_pieces_continues_where_it_was(http: aiohttp.ClientSession) -> None:
    status, headers, _ = await call(http, "POST", "/v2/app/blobs/uploads/")
    location = headers["Location"]
    assert status == 202
    first, second = BIG[:700_000], BIG[700_000:]
    status, headers, _ = await call(http, "PATCH", location, data=first, headers={"Content-Range": "0-699999"})
    assert (status, headers["Range"]) == (202, "0-699999")
    status, headers, _ = await call(http, "PATCH", location, data=first, headers={"Content-Range": "0-699999"})
    assert (status, headers["Range"]) == (416, "0-699999")
    status, headers, _ = await call(http, "GET", location)
    assert (status, headers["Range"]) == (204, "0-699999")
    status, _, _ = await call(http, "PUT", f"{location}?digest={digests.of(BIG)}", data=second)
    assert status == 201
    assert (await call(http, "GET", f"/v2/app/blobs/{digests.of(BIG)}"))[2] == BIG


async def test_an_upload_survives_a_restart_of_the_registry(nats_server: NatsServer) -> None:
    async with restarted(nats_server) as http:
        location = (await call(http, "POST", "/v2/app/blobs/uploads/"))[1]["Location"]
        await call(http, "PATCH", location, data=BIG[:1_000_000])
    async with restarted(nats_server) as http:
        assert (await call(http, "GET", location))[1]["Range"] == "0-999999"
        path = f"{location}?digest={digests.of(BIG)}"
        assert (await call(http, "PUT", path, data=BIG[1_000_000:]))[0] == 201
        assert (await call(http, "GET", f"/v2/app/blobs/{digests.of(BIG)}"))[2] == BIG


async def test_a_wrong_digest_makes_nothing_visible(http: aiohttp.ClientSession, nats_server: NatsServer) -> None:
    wrong = digests.of(b"other")
    status, _, body = await call(http, "POST", f"/v2/app/blobs/uploads/?digest={wrong}", data=BIG)
    assert (status, code(body)) == (400, "DIGEST_INVALID")
    assert (await call(http, "HEAD", f"/v2/app/blobs/{wrong}"))[0] == 404
    async with connect(nats_server.settings("admin"), "test") as bus:
        assert (await JetStream(bus).stream_info(chunks.STREAM))["state"]["messages"] == 0


async def test_an_unfinished_upload_is_no_blob_and_can_be_cancelled(http: aiohttp.ClientSession) -> None:
    location = (await call(http, "POST", "/v2/app/blobs/uploads/"))[1]["Location"]
    await call(http, "PATCH", location, data=BIG)
    assert (await call(http, "HEAD", f"/v2/app/blobs/{digests.of(BIG)}"))[0] == 404
    assert (await call(http, "DELETE", location))[0] == 204
    assert (await call(http, "GET", location))[0] == 404


async def test_an_upload_goes_on_after_its_client_broke_off(http: aiohttp.ClientSession) -> None:
    location = (await call(http, "POST", "/v2/app/blobs/uploads/"))[1]["Location"]
    _, writer = await asyncio.open_connection(http._base_url.host, http._base_url.port)  # type: ignore[union-attr]
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BIG)}\r\n\r\n"
    writer.write(head.encode() + BIG[: chunks.CHUNK_BYTES + 10])
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(LIMIT_S):
        while (found := (await call(http, "GET", location))[1]["Range"]) != f"0-{chunks.CHUNK_BYTES - 1}":
            assert found == "0-0"
            await asyncio.sleep(0.01)
    status, _, _ = await call(http, "PUT", f"{location}?digest={digests.of(BIG)}", data=BIG[chunks.CHUNK_BYTES :])
    assert status == 201
    assert (await call(http, "GET", f"/v2/app/blobs/{digests.of(BIG)}"))[2] == BIG


async def test_sha512_is_accepted(http: aiohttp.ClientSession) -> None:
    digest = digests.of(BIG, "sha512")
    assert (await call(http, "POST", f"/v2/app/blobs/uploads/?digest={digest}", data=BIG))[0] == 201
    assert (await call(http, "GET", f"/v2/app/blobs/{digest}"))[2] == BIG


async def test_a_blob_belongs_to_its_repository_until_it_is_mounted(http: aiohttp.ClientSession) -> None:
    digest = await push(http, b"shared", "one")
    assert (await call(http, "HEAD", f"/v2/two/blobs/{digest}"))[0] == 404
    status, headers, _ = await call(http, "POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one")
    assert (status, headers["Location"]) == (201, f"/v2/two/blobs/{digest}")
    assert (await call(http, "GET", f"/v2/two/blobs/{digest}"))[2] == b"shared"


async def test_a_mount_of_what_is_not_there_begins_an_upload(http: aiohttp.ClientSession) -> None:
    path = f"/v2/two/blobs/uploads/?mount={digests.of(b'nothing')}&from=one"
    assert (await call(http, "POST", path))[0] == 202


async def test_a_deleted_blob_is_gone_when_no_repository_has_it(http: aiohttp.ClientSession, registry: Server) -> None:
    digest = await push(http, b"shared", "one")
    await call(http, "POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one")
    assert (await call(http, "DELETE", f"/v2/one/blobs/{digest}"))[0] == 202
    assert (await call(http, "GET", f"/v2/two/blobs/{digest}"))[2] == b"shared"
    assert (await call(http, "DELETE", f"/v2/two/blobs/{digest}"))[0] == 202
    assert not await registry.repositories.mount("three", digest, "")


async def test_a_manifest_is_found_by_tag_and_digest(http: aiohttp.ClientSession) -> None:
    digest = await push_image(http, "1.0")
    for reference in ("1.0", digest):
        status, headers, body = await call(http, "GET", f"/v2/app/manifests/{reference}")
        assert (status, headers["Content-Type"], digests.of(body)) == (200, OCI_MANIFEST, digest)
    status, headers, body = await call(http, "HEAD", "/v2/app/manifests/1.0")
    assert (status, headers["Docker-Content-Digest"], body) == (200, digest, b"")
    assert int(headers["Content-Length"]) > 0


async def test_a_tag_moves_to_the_newest_manifest(http: aiohttp.ClientSession) -> None:
    await push_image(http, "latest", content="a")
    second = await push_image(http, "latest", content="b")
    assert (await call(http, "HEAD", "/v2/app/manifests/latest"))[1]["Docker-Content-Digest"] == second


async def test_a_manifest_needs_its_blobs(http: aiohttp.ClientSession) -> None:
    image = archives.image(archives.tar(archives.entry("a")))
    options = {"data": image.manifest, "headers": {"Content-Type": OCI_MANIFEST}}
    status, _, body = await call(http, "PUT", "/v2/app/manifests/1", **options)
    assert (status, code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert (await call(http, "GET", "/v2/app/manifests/1"))[0] == 404


@pytest.mark.parametrize(
    ("reference", "data", "content_type", "expected"),
    [
        ("1", b"{}", OCI_MANIFEST, "MANIFEST_INVALID"),
        ("1", b"not json", OCI_MANIFEST, "MANIFEST_INVALID"),
        ("1", b"{}", "text/plain", "MANIFEST_INVALID"),
        ("sha256:" + "0" * 64, b'{"manifests":[]}', OCI_INDEX, "DIGEST_INVALID"),
        ("1", b" " * (manifests.DOCUMENT_LIMIT + 1), OCI_MANIFEST, "TOO_LARGE"),
    ],
)
async def test_a_bad_manifest_is_refused(
    http: aiohttp.ClientSession, reference: str, data: bytes, content_type: str, expected: str
) -> None:
    options = {"data": data, "headers": {"Content-Type": content_type}}
    assert code((await call(http, "PUT", f"/v2/app/manifests/{reference}", **options))[2]) == expected


async def test_tags_are_listed_in_pages(http: aiohttp.ClientSession) -> None:
    for tag in ("c", "a", "b.1"):
        await push_image(http, tag)
    _, _, body = await call(http, "GET", "/v2/app/tags/list")
    assert manifests.decode(body, "t") == {"name": "app", "tags": ["a", "b.1", "c"]}
    _, headers, body = await call(http, "GET", "/v2/app/tags/list?n=2")
    assert manifests.decode(body, "t")["tags"] == ["a", "b.1"]
    link = headers["Link"].partition(">")[0][1:]
    _, headers, body = await call(http, "GET", link)
    assert manifests.decode(body, "t")["tags"] == ["c"]
    assert "Link" not in headers
    assert manifests.decode((await call(http, "GET", "/v2/app/tags/list?n=0"))[2], "t")["tags"] == []


async def test_repositories_are_listed(http: aiohttp.ClientSession) -> None:
    for repository in ("team/b", "a.b", "z"):
        await push(http, b"x", repository)
    _, _, body = await call(http, "GET", "/v2/_catalog?n=2")
    assert manifests.decode(body, "c")["repositories"] == ["a.b", "team/b"]


async def test_a_deleted_tag_leaves_the_manifest(http: aiohttp.ClientSession) -> None:
    digest = await push_image(http, "1")
    assert (await call(http, "DELETE", "/v2/app/manifests/1"))[0] == 202
    assert (await call(http, "GET", "/v2/app/manifests/1"))[0] == 404
    assert (await call(http, "GET", f"/v2/app/manifests/{digest}"))[0] == 200


async def test_a_deleted_manifest_takes_its_tags_along(http: aiohttp.ClientSession) -> None:
    digest = await push_image(http, "1")
    await push_image(http, "2")
    await push_image(http, "other", content="y")
    assert (await call(http, "DELETE", f"/v2/app/manifests/{digest}"))[0] == 202
    _, _, body = await call(http, "GET", "/v2/app/tags/list")
    assert manifests.decode(body, "t")["tags"] == ["other"]


async def test_referrers_are_found_by_their_subject(http: aiohttp.ClientSession) -> None:
    subject = await push_image(http, "1")
    empty = b"{}"
    await push(http, empty)
    found = []
    for kind in ("sig", "sbom"):
        document = manifests.Manifest(
            OCI_MANIFEST,
            Descriptor(manifests.OCI_EMPTY, digests.of(empty), 2),
            (),
            Descriptor(OCI_MANIFEST, subject, 1),
            f"application/{kind}",
            {"k": kind},
        ).encode()
        path = f"/v2/app/manifests/{digests.of(document)}"
        status, headers, _ = await call(http, "PUT", path, data=document, headers={"Content-Type": OCI_MANIFEST})
        assert (status, headers["OCI-Subject"]) == (201, subject)
        found.append(digests.of(document))
    status, headers, body = await call(http, "GET", f"/v2/app/referrers/{subject}")
    listed = manifests.decode(body, "r")
    assert (status, headers["Content-Type"]) == (200, OCI_INDEX)
    assert {entry["digest"] for entry in listed["manifests"]} == set(found)
    _, headers, body = await call(http, "GET", f"/v2/app/referrers/{subject}?artifactType=application/sbom")
    (entry,) = manifests.decode(body, "r")["manifests"]
    assert (entry["artifactType"], entry["annotations"], headers["OCI-Filters-Applied"]) == (
        "application/sbom",
        {"k": "sbom"},
        "artifactType",
    )
    await call(http, "DELETE", f"/v2/app/manifests/{entry['digest']}")
    _, _, body = await call(http, "GET", f"/v2/app/referrers/{subject}")
    assert len(manifests.decode(body, "r")["manifests"]) == 1


async def test_an_unknown_subject_has_no_referrers(http: aiohttp.ClientSession) -> None:
    status, _, body = await call(http, "GET", f"/v2/app/referrers/{digests.of(b'x')}")
    assert (status, manifests.decode(body, "r")["manifests"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/v2/UPPER/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/none/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/none/manifests/1", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/app/manifests/-bad", 400, "MANIFEST_INVALID"),
        ("GET", "/v2/app/blobs/sha256:12", 400, "DIGEST_INVALID"),
        ("GET", "/v2/app/blobs/uploads/nothing", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", "/v2/app/tags/list", 405, "UNSUPPORTED"),
        ("GET", "/v2/app", 404, "NAME_UNKNOWN"),
    ],
)
async def test_errors_have_the_codes_of_the_specification(
    http: aiohttp.ClientSession, method: str, path: str, status: int, expected: str
) -> None:
    found, _, body = await call(http, method, path)
    assert (found, code(body)) == (status, expected)


async def test_a_broker_that_is_away_is_told_as_unavailable(
    http: aiohttp.ClientSession, nats_server: NatsServer
) -> None:
    nats_server.kill()
    status, headers, body = await call(http, "GET", "/v2/app/tags/list")
    assert (status, code(body), headers["Retry-After"]) == (503, "UNAVAILABLE", "1")
    nats_server.start()
