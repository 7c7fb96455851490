"""Removing and collecting images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services.nodeagent.images.collection import Thresholds
from services.nodeagent.images.store import ImageStore
from shared.images.errors import ImageError, ImageNotFound
from tests.integration.images.misbehaving import MisbehavingRegistry
from tests.unit.shared.images.archives import entry, image, tar

pytestmark = pytest.mark.root
FULL = Thresholds(high=0.0, low=0.0, age=0.0)
BASE, ONE, TWO = (tar(entry(name, data=name.encode())) for name in ("base", "one", "two"))


@pytest.fixture
async def store(misbehaving: MisbehavingRegistry, make_store: Callable[[str], ImageStore]) -> ImageStore:
    """A store with one:1 and two:1, which share their base."""
    misbehaving.add(image(BASE, ONE), "one")
    misbehaving.add(image(BASE, TWO), "two")
    found = make_store(misbehaving.address)
    await found.ensure("app:one")
    await found.ensure("app:two")
    return found


def layers(store: ImageStore) -> list[str]:
    return sorted(entry.name for path in (store._directory.root / "layers").iterdir() for entry in path.iterdir())


async def test_a_removed_image_takes_only_its_own_layers(store: ImageStore) -> None:
    assert await store.remove("app:one") == [store.list()[0].references[0].replace("two", "one")]
    assert layers(store) == ["base", "two"]
    await store.remove("app:two")
    assert layers(store) == []
    assert list((store._directory.root / "documents").iterdir()) == []


async def test_an_unknown_image_cannot_be_removed(store: ImageStore) -> None:
    with pytest.raises(ImageNotFound):
        await store.remove("app:three")


async def test_an_image_in_use_cannot_be_removed(store: ImageStore) -> None:
    found = store.find("app:one")
    assert found
    store.hold(found.id, "container-1")
    with pytest.raises(ImageError, match="in use by container-1"):
        await store.remove("app:one")
    store.release("container-1")
    await store.remove("app:one")


async def test_a_full_disk_removes_what_is_neither_pinned_nor_used(store: ImageStore) -> None:
    store.pin("app:one")
    plan = await store.collect(FULL)
    assert [removal.references[0].rpartition(":")[2] for removal in plan.removals] == ["two"]
    assert "unused for" in plan.removals[0].reason
    assert layers(store) == ["base", "one"]


async def test_a_held_image_is_not_collected(store: ImageStore) -> None:
    for found in store.list():
        store.hold(found.id, f"c-{found.id}")
    assert (await store.collect(FULL)).removals == ()
    assert all(found.in_use for found in store.list())


async def test_pins_survive_a_restart(
    store: ImageStore, misbehaving: MisbehavingRegistry, make_store: Callable[[str], ImageStore]
) -> None:
    store.pin("app:one")
    again = make_store(misbehaving.address)
    assert [found.pinned for found in again.list()] == [True, False]


async def test_an_image_whose_layer_was_lost_is_not_there(
    store: ImageStore, misbehaving: MisbehavingRegistry, make_store: Callable[[str], ImageStore]
) -> None:
    found = store.find("app:one")
    assert found
    found.layers[1].rename(found.layers[1].with_name("elsewhere"))
    again = make_store(misbehaving.address)
    assert again.find("app:one") is None
    assert (await again.ensure("app:one")).layers[1].joinpath("one").exists()


async def test_a_restart_removes_what_a_crash_left(
    store: ImageStore, misbehaving: MisbehavingRegistry, make_store: Callable[[str], ImageStore], tmp_path: Path
) -> None:
    work = tmp_path / "images/tmp/half/a/b"
    work.mkdir(parents=True)
    make_store(misbehaving.address)
    assert list((tmp_path / "images/tmp").iterdir()) == []
