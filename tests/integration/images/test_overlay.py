"""What the store unpacks is what overlayfs shows."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.nodeagent.images.model import Image
from services.nodeagent.images.store import ImageStore
from tests.integration.images.misbehaving import MisbehavingRegistry
from tests.unit.shared.images.archives import DIRECTORY, HARD, LINK, entry, image, tar

pytestmark = pytest.mark.root


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[Image], Path]]:
    """Mounts an image read-only."""
    target = tmp_path / "merged"
    target.mkdir()

    def mount(found: Image) -> Path:
        lower = ":".join(str(path) for path in reversed(found.layers))
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", str(target)], check=True)
        return target

    yield mount
    subprocess.run(["umount", str(target)], check=True)


async def test_whiteouts_opaque_directories_and_attributes_of_parents_hold(
    misbehaving: MisbehavingRegistry,
    make_store: Callable[[str], ImageStore],
    mounted: Callable[[Image], Path],
) -> None:
    base = tar(
        entry("tmp", DIRECTORY, mode=0o1777),
        entry("gone", data=b"x"),
        entry("opaque", DIRECTORY, mode=0o755),
        entry("opaque/old", data=b"x"),
        entry("replaced", DIRECTORY, mode=0o755),
        entry("replaced/old", data=b"x"),
        entry("link", LINK, link="tmp"),
        entry("a", data=b"x"),
        entry("b", HARD, link="a"),
    )
    top = tar(
        entry(".wh.gone"),
        entry("opaque", DIRECTORY, mode=0o700),
        entry("opaque/.wh..wh..opq"),
        entry("opaque/new", data=b"x"),
        entry(".wh.replaced"),
        entry("replaced", DIRECTORY, mode=0o755),
        entry("replaced/new", data=b"x"),
        entry("tmp/file", data=b"x"),
    )
    misbehaving.add(image(base, top))
    root = mounted(await make_store(misbehaving.address).ensure("app:1"))
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    assert found == ["a", "b", "link", "opaque", "opaque/new", "replaced", "replaced/new", "tmp", "tmp/file"]
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "opaque").stat().st_mode & 0o7777 == 0o700
    assert (root / "a").stat().st_nlink == 2
