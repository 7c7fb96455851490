"""Other people's tools push to and pull from the registry."""

from __future__ import annotations

import asyncio
import io
import shutil
from pathlib import Path

import pytest

from services.registry.app import Server
from shared.images.client import Document
from shared.images.layout import Layout
from shared.images.manifests import Descriptor
from tests.unit.shared.images import archives

pytestmark = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


async def skopeo(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "skopeo", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = archives.image(archives.tar(archives.entry("hello", data=b"x" * 2_000_000)), config={"Cmd": ["/hello"]})
    target = Layout(tmp_path / "layout")
    for digest, data in found.blobs.items():
        target.put_blob(Descriptor("", digest, len(data)), lambda data=data: io.BytesIO(data))  # type: ignore[misc]
    target.put_manifest("1", Document(found.manifest, found.media_type, found.digest))
    return target


@pytest.mark.parametrize("form", ["oci", "v2s2"])
async def test_skopeo_copies_there_and_back(registry: Server, layout: Layout, tmp_path: Path, form: str) -> None:
    name = f"docker://127.0.0.1:{registry.port}/team/app:1"
    await skopeo("copy", "--dest-tls-verify=false", "--format", form, f"oci:{layout.root}:1", name)
    await skopeo("copy", "--src-tls-verify=false", name, f"oci:{tmp_path}/back:1")
    assert Layout(tmp_path / "back").names() == ["1"]
    assert '"/hello"' in await skopeo("inspect", "--tls-verify=false", "--config", name)


async def test_skopeo_lists_and_deletes(registry: Server, layout: Layout) -> None:
    name = f"docker://127.0.0.1:{registry.port}/app"
    await skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.root}:1", f"{name}:1")
    assert '"1"' in await skopeo("list-tags", "--tls-verify=false", name)
    await skopeo("delete", "--tls-verify=false", f"{name}:1")
    assert '"1"' not in await skopeo("list-tags", "--tls-verify=false", name)
