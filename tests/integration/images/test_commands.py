"""`wherry image` against a registry."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from shared.cli.main import main

DOCKERFILE = """
FROM scratch
COPY bin/ /bin/
ENV PATH=/bin
CMD ["sh"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_text("binary")
    (root / "bin/sh").symlink_to("busybox")
    (root / "Dockerfile").write_text(DOCKERFILE)
    return root


@pytest.fixture
def wherry(own_registry: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("WHERRY_REGISTRY", own_registry)
    return Command(capsys)


class Command:
    """Runs `wherry image ...` in a thread, because the registry lives in the test's loop."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        found = await asyncio.to_thread(main, ["image", *arguments])
        out, err = self._capsys.readouterr()
        assert found == code, err
        return out if code == 0 else err


async def test_an_image_is_built_listed_inspected_and_removed(wherry: Command, context: Path) -> None:
    digest = (await wherry("build", "-t", "web:1", str(context))).strip()
    header, row = (await wherry("ls")).splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "DIGEST", "PLATFORM", "SIZE"]
    assert row.split()[:3] == ["web", "1", digest[7:19]]
    shown = json.loads(await wherry("inspect", "web:1"))
    assert (shown["digest"], shown["config"]["config"]["Cmd"]) == (digest, ["sh"])
    await wherry("rm", "web:1")
    assert await wherry("ls", "-q") == ""


async def test_an_image_is_built_on_another(wherry: Command, context: Path) -> None:
    await wherry("build", "-t", "base:1", str(context))
    (context / "Dockerfile").write_text('FROM base:1\nCOPY bin/busybox /tmp/x\nENTRYPOINT ["/bin/sh"]\n')
    await wherry("build", "-t", "derived:1", str(context))
    shown = json.loads(await wherry("inspect", "derived:1"))
    assert len(shown["manifest"]["layers"]) == 2
    assert len(shown["config"]["rootfs"]["diff_ids"]) == 2
    assert shown["config"]["config"] == {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/sh"]}


@pytest.mark.parametrize("where", ["{}/a.tar", "docker-archive:{}/a", "oci-archive:{}/a", "oci:{}/a"])
async def test_an_image_goes_to_a_file_and_back(wherry: Command, context: Path, tmp_path: Path, where: str) -> None:
    await wherry("build", "-t", "web:1", str(context))
    place = where.format(tmp_path)
    await wherry("save", "web:1", "-o", place)
    await wherry("rm", "web:1")
    await wherry("load", "-i", place)
    assert (await wherry("ls", "-q")).strip() == "web:1"


async def test_a_build_goes_to_a_file_and_not_to_the_registry(wherry: Command, context: Path, tmp_path: Path) -> None:
    await wherry("build", "-t", "web:1", "-o", f"oci:{tmp_path}/out", str(context))
    assert await wherry("ls", "-q") == ""
    assert json.loads(await wherry("inspect", f"oci:{tmp_path}/out"))["config"]["config"]["Cmd"] == ["sh"]


async def test_an_image_is_copied_to_another_registry_and_back(
    wherry: Command, context: Path, docker_registry: str
) -> None:
    built = await wherry("build", "-t", "web:1", str(context))
    assert await wherry("push", "web:1", f"{docker_registry}/team/web:2") == built
    assert await wherry("pull", f"{docker_registry}/team/web:2") == built
    assert (await wherry("ls", "-q")).split() == ["team/web:2", "web:1"]


async def test_errors_are_one_sentence(wherry: Command, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nRUN ls\n")
    assert (await wherry("build", "-t", "web:1", str(context), code=1)).startswith(
        "wherry: Dockerfile line 2: RUN is not supported"
    )
    assert "MANIFEST_UNKNOWN" in await wherry("rm", "web:9", code=1)
