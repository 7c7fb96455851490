"""A pod's checkpoint as files: one directory, on its way one tar archive.

    checkpoint.json                  Manifest: version, the pod, what its node remembered of it, the containers
    containers/<name>/spec.dump      the ContainerSpec it ran with
    containers/<name>/config.dump    image, restart count, when it started
    containers/<name>/checkpoint/    criu's images, external.json, dump.log
    containers/<name>/rootfs-diff.tar  the writable layer: overlay's upper directory with its extended attributes
    containers/<name>/container.log  the log of the present attempt
    volumes/<name>.tar               each emptyDir
    shm.tar                          the pod's /dev/shm

The names inside a container's part are those of CRI-O's and containerd's checkpoint archives, so that their tools can
look into one. Process memory holds secrets: everything here is for root alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.errors import RuntimeFailure

VERSION = 1
MANIFEST = "checkpoint.json"
CHUNK = 256 * 1024
_XATTRS = ("--xattrs", "--xattrs-include=*", "--numeric-owner")


@dataclass(frozen=True, slots=True)
class Manifest:
    """`pod` is the object, `record` the document of its PodRecord; `containers` are those that ran."""

    pod: dict[str, Any]
    record: dict[str, Any]
    containers: list[str]
    node: str
    created: str
    version: int = VERSION

    def save(self, directory: Path) -> None:
        (directory / MANIFEST).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """RuntimeFailure if this is no checkpoint, or one of another version."""
        try:
            document = json.loads((directory / MANIFEST).read_text())
            manifest = cls(**document)
        except (OSError, ValueError, TypeError) as exc:
            raise RuntimeFailure(f"this is no checkpoint of a pod: {MANIFEST} cannot be read ({exc})") from exc
        if manifest.version != VERSION:
            raise RuntimeFailure(f"the checkpoint has version {manifest.version}, this node reads version {VERSION}")
        return manifest


@dataclass(frozen=True, slots=True)
class Part:
    """One container's files below `directory`."""

    directory: Path

    @property
    def images(self) -> Path:
        return self.directory / "checkpoint"

    @property
    def layer(self) -> Path:
        return self.directory / "rootfs-diff.tar"

    @property
    def log(self) -> Path:
        return self.directory / "container.log"

    @property
    def spec(self) -> Path:
        return self.directory / "spec.dump"

    @property
    def config(self) -> Path:
        return self.directory / "config.dump"


def part(directory: Path, container: str) -> Part:
    return Part(directory / "containers" / container)


def volume(directory: Path, name: str) -> Path:
    return directory / "volumes" / f"{name}.tar"


def shared_memory(directory: Path) -> Path:
    return directory / "shm.tar"


async def pack(source: Path, target: Path) -> None:
    """Write the content of a directory to a tar file. RuntimeFailure with tar's words."""
    target.parent.mkdir(parents=True, exist_ok=True)
    await _tar(["--create", "--file", str(target), *_XATTRS, "--directory", str(source), "."])


async def unpack(source: Path, target: Path) -> None:
    """Write the content of a tar file into a directory. RuntimeFailure with tar's words."""
    target.mkdir(parents=True, exist_ok=True)
    await _tar(["--extract", "--file", str(source), *_XATTRS, "--preserve-permissions", "--directory", str(target)])


async def chunks(directory: Path) -> AsyncIterator[bytes]:
    """The whole directory as one archive. RuntimeFailure if it could not be read to its end."""
    words = ["tar", "--create", "--numeric-owner", "--directory", str(directory), "."]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        while data := await process.stdout.read(CHUNK):
            yield data
        errors = await process.stderr.read()
        if await process.wait():
            raise RuntimeFailure(f"tar: {errors.decode(errors='replace').strip()}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Extraction:
    """An archive written into a directory as it arrives: `feed` chunks, then `finish`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def begin(cls, directory: Path) -> Extraction:
        words = ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--directory", str(directory)]
        return cls(
            await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
        )

    async def feed(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except ConnectionError as exc:
            raise RuntimeFailure(await self._words()) from exc

    async def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        words = await self._words()
        if await self._process.wait():
            raise RuntimeFailure(words)

    async def abort(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _words(self) -> str:
        assert self._process.stderr is not None
        return "this is no checkpoint: tar: " + (await self._process.stderr.read()).decode(errors="replace").strip()


async def _tar(words: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        "tar",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeFailure(f"tar: {errors.decode(errors='replace').strip()}")
