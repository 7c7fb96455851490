"""File systems of a test's own: small ones that fill up, and ones whose power can be cut."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def mounted(image: Path, directory: Path) -> Iterator[Path]:
    """An image of a file system, mounted through a loop device."""
    directory.mkdir(exist_ok=True)
    run("mount", "-o", "loop", str(image), str(directory))
    try:
        yield directory
    finally:
        run("umount", str(directory))


@contextmanager
def disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A fresh ext4 of a size, mounted at `directory`."""
    image = directory.with_suffix(".img")
    make(image, megabytes)
    with mounted(image, directory):
        yield directory


def make(image: Path, megabytes: int) -> None:
    """A file that holds an empty ext4."""
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))


class Machine:
    """A disk whose power can be cut in the middle of its work.

    The image lies on a file system of its own. When that is frozen, every write to the image stands still at once, but
    the file system inside the image is told nothing and flushes nothing: a copy of the image is what a disk would hold.
    """

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory = directory
        self._megabytes = megabytes
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Path:
        outer = self._stack.enter_context(disk(self.directory / "outer", 2 * self._megabytes + 64))
        self._image = outer / "disk.img"
        make(self._image, self._megabytes)
        return self._stack.enter_context(mounted(self._image, self.directory / "disk"))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cut(self, copy: Path) -> None:
        """Write to `copy` what is on the disk at this instant."""
        outer = str(self._image.parent)
        run("fsfreeze", "--freeze", outer)
        try:
            shutil.copyfile(self._image, copy)
        finally:
            run("fsfreeze", "--unfreeze", outer)
