"""The node's image store against registries of all kinds."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.nodeagent.images.model import Progress
from services.nodeagent.images.store import ImageStore
from shared.images.errors import (
    CorruptContent,
    ImageNeverPull,
    ImageNotFound,
    InvalidReference,
    RegistryUnavailable,
    UnsupportedImage,
)
from shared.images.manifests import OCI_INDEX, Descriptor, Platform, encode
from tests.integration.images.conftest import push
from tests.integration.images.misbehaving import MisbehavingRegistry
from tests.slowness import LIMIT_S
from tests.unit.shared.images.archives import DIRECTORY, TestImage, entry, image, tar

pytestmark = pytest.mark.root
MakeStore = Callable[[str], ImageStore]

BASE = tar(entry("tmp", DIRECTORY, mode=0o1777), entry("etc/name", data=b"base"))
BIG = tar(entry("big", data=os.urandom(3_000_000)))
TOP = tar(entry("tmp/x", data=b"x"), entry("etc/.wh.name"))


def content(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def leftovers(store: ImageStore) -> list[Path]:
    return list((store._directory.root / "tmp").iterdir())


async def test_an_image_of_our_registry_is_pulled_and_unpacked(own_registry: str, make_store: MakeStore) -> None:
    await pull_from(own_registry, make_store)


async def test_an_image_of_docker_registry_is_pulled_and_unpacked(docker_registry: str, make_store: MakeStore) -> None:
    await pull_from(docker_registry, make_store)


async def pull_from(registry: str, make_store: MakeStore) -> None:
    pushed = image(BASE, BIG, TOP, config={"Cmd": ["/a"], "Env": ["A=b"]})
    await asyncio.to_thread(push, registry, "team/app", pushed)
    steps: list[Progress] = []
    found = await make_store(registry).ensure("team/app:1", progress=steps.append)
    assert (found.digest, found.config.cmd, found.references) == (pushed.digest, ["/a"], [f"{registry}/team/app:1"])
    assert [content(path) for path in found.layers] == [
        ["etc", "etc/name", "tmp"],
        ["big"],
        ["etc", "etc/name", "tmp", "tmp/x"],
        ["tmp"],
    ]
    assert found.layers[3].joinpath("tmp").stat().st_mode & 0o7777 == 0o1777
    assert {step.phase for step in steps} == {"downloading", "unpacked"}
    assert sum(step.done for step in steps if step.phase == "unpacked") == sum(
        layer.size
        for layer in pushed.parsed.layers  # type: ignore[union-attr]
    )


async def test_a_restarted_store_knows_its_images(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    misbehaving.add(image(BASE))
    first = await make_store(misbehaving.address).ensure("app:1")
    count = misbehaving.requests.total()
    again = await make_store(misbehaving.address).ensure("app:1")
    assert (again.id, again.layers) == (first.id, first.layers)
    assert misbehaving.requests.total() == count


async def test_layers_are_shared_between_images(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    misbehaving.add(image(BASE, TOP), "1")
    misbehaving.add(image(BASE, BIG), "2")
    store = make_store(misbehaving.address)
    one, two = await store.ensure("app:1"), await store.ensure("app:2")
    assert one.layers[0] == two.layers[0]
    assert misbehaving.requests["GET blobs"] == 5


async def test_a_layer_that_occurs_twice_is_mounted_once(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    misbehaving.add(image(BASE, BIG, BASE))
    found = await make_store(misbehaving.address).ensure("app:1")
    assert [content(path)[0] for path in found.layers] == ["big", "etc"]


async def test_pulls_of_one_image_at_the_same_time_are_one(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    misbehaving.add(image(BASE, BIG))
    store = make_store(misbehaving.address)
    found = await asyncio.gather(*(store.ensure("app:1") for _ in range(5)))
    assert len({f.id for f in found}) == 1
    assert misbehaving.requests["GET blobs"] == 3


async def test_a_pull_goes_on_when_the_first_to_ask_gives_up(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    misbehaving.add(image(BIG))
    store = make_store(misbehaving.address)
    first = asyncio.ensure_future(store.ensure("app:1"))
    second = asyncio.ensure_future(store.ensure("app:1"))
    await asyncio.sleep(0)
    first.cancel()
    assert content((await second).layers[0]) == ["big"]


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_broken_connection_is_resumed(
    misbehaving: MisbehavingRegistry, make_store: MakeStore, ranges: bool
) -> None:
    misbehaving.add(image(BIG))
    misbehaving.break_after = 700_000
    misbehaving.ranges = ranges
    store = make_store(misbehaving.address)
    if ranges:
        assert content((await store.ensure("app:1")).layers[0]) == ["big"]
        assert misbehaving.requests["ranges"] >= 4
    else:
        with pytest.raises(RegistryUnavailable, match="keeps breaking at byte 700000"):
            await store.ensure("app:1")
        assert leftovers(store) == []


async def test_a_passing_server_error_is_tried_again(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    misbehaving.add(image(BASE))
    misbehaving.fail_with = [503, 500]
    assert (await make_store(misbehaving.address).ensure("app:1")).layers


async def test_tampered_bytes_never_become_a_layer(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    pushed = image(BASE, BIG)
    misbehaving.add(pushed)
    assert pushed.parsed is not None
    misbehaving.tamper = {pushed.parsed.layers[1].digest}
    store = make_store(misbehaving.address)
    with pytest.raises(CorruptContent, match=r"has digest|cannot be decompressed"):
        await store.ensure("app:1")
    await until(lambda: not leftovers(store))
    assert store.list() == []
    misbehaving.tamper = set()
    assert len((await store.ensure("app:1")).layers) == 2


async def test_a_layer_must_unpack_to_its_diff_id(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    true, other = image(BASE), image(BIG)
    assert true.parsed
    assert other.parsed
    lying = TestImage(
        type(true.parsed)(true.media_type, true.parsed.config, other.parsed.layers).encode(),
        blobs={**true.blobs, **other.blobs},
    )
    misbehaving.add(lying)
    with pytest.raises(CorruptContent, match="its image says"):
        await make_store(misbehaving.address).ensure("app:1")


async def test_a_manifest_that_does_not_match_its_digest_is_refused(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    pushed = image(BASE)
    misbehaving.add(pushed)
    misbehaving.manifests[pushed.digest] = (image(BIG).manifest, pushed.media_type)
    with pytest.raises(CorruptContent, match="has digest"):
        await make_store(misbehaving.address).ensure(f"app@{pushed.digest}")


async def test_an_index_gives_the_image_of_this_machine(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    local = Platform.local()
    mine, other = image(BASE, architecture=local.architecture), image(BIG, architecture="vax")
    misbehaving.add(mine, "mine")
    misbehaving.add(other, "other")
    entries = [
        Descriptor(i.media_type, i.digest, len(i.manifest), Platform("linux", a)).document()
        for i, a in ((other, "vax"), (mine, local.architecture))
    ]
    misbehaving.manifests["1"] = (
        encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}),
        OCI_INDEX,
    )
    found = await make_store(misbehaving.address).ensure("app:1")
    assert found.id == mine.parsed.config.digest  # type: ignore[union-attr]


async def test_an_image_of_another_machine_is_refused(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    misbehaving.add(image(BASE, architecture="vax"))
    with pytest.raises(UnsupportedImage, match="linux/vax"):
        await make_store(misbehaving.address).ensure("app:1")


def config(user: str, registry: str) -> dict[str, object]:
    auth = base64.b64encode(f"{user}:password".encode()).decode()
    return {"auths": {registry: {"auth": auth}}}


async def test_a_token_is_fetched_with_the_pods_credentials(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    misbehaving.add(image(BASE))
    misbehaving.user = "me"
    auth = [config("other", misbehaving.address), config("me", misbehaving.address)]
    assert (await make_store(misbehaving.address).ensure("app:1", auth=auth)).layers


async def test_wrong_credentials_are_told(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    misbehaving.user = "me"
    name = f"{misbehaving.address}/app:1"
    with pytest.raises(ImageNotFound, match="401"):
        await make_store(misbehaving.address).ensure(name, auth=config("you", misbehaving.address))


async def test_never_does_not_ask_the_registry(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    misbehaving.add(image(BASE))
    store = make_store(misbehaving.address)
    with pytest.raises(ImageNeverPull):
        await store.ensure("app:1", "Never")
    assert misbehaving.requests.total() == 0
    await store.ensure("app:1")
    assert (await store.ensure("app:1", "Never")).layers


async def test_always_takes_a_moved_tag_and_nothing_else(
    misbehaving: MisbehavingRegistry, make_store: MakeStore
) -> None:
    misbehaving.add(image(BASE))
    store = make_store(misbehaving.address)
    first = await store.ensure("app:1", "Always")
    blobs = misbehaving.requests["GET blobs"]
    assert (await store.ensure("app:1", "Always")).id == first.id
    assert misbehaving.requests["GET blobs"] == blobs
    misbehaving.add(image(TOP))
    assert (await store.ensure("app:1", "IfNotPresent")).id == first.id
    assert (await store.ensure("app:1", "Always")).id != first.id


async def test_a_name_that_is_no_reference_has_its_own_reason(make_store: MakeStore) -> None:
    with pytest.raises(InvalidReference) as caught:
        await make_store("127.0.0.1:1").ensure("Not An Image")
    assert caught.value.reason == "InvalidImageName"


async def test_a_registry_that_is_away_has_its_own_reason(make_store: MakeStore) -> None:
    with pytest.raises(RegistryUnavailable, match="cannot be reached") as caught:
        await make_store("127.0.0.1:1").ensure("app:1")
    assert caught.value.reason == "RegistryUnavailable"


async def test_a_cancelled_pull_leaves_nothing(misbehaving: MisbehavingRegistry, make_store: MakeStore) -> None:
    pushed = image(BIG)
    misbehaving.add(pushed)
    store = make_store(misbehaving.address)
    await store.ensure("app:1")
    await store.remove("app:1")
    misbehaving.hold = threading.Event()
    pull = asyncio.ensure_future(store.ensure("app:1"))
    await until(lambda: misbehaving.requests["GET blobs"] > 2)
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    misbehaving.hold.set()
    await until(lambda: not leftovers(store))
    assert store.list() == []
