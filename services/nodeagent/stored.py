"""Small JSON documents on disk, replaced whole, so that a reader never meets half of one.

A pod's start writes several, so what a rename costs is felt: ext4 writes a file's data out at once when it is renamed
over another (auto_da_alloc, ext4(5)). Exchanging the two names and removing the old file avoids that.
"""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from shared.kernel import syscalls


def write(path: Path, document: Any, *, durable: bool = False, mode: int = 0o600) -> None:
    """Replace `path`; with `durable` it also survives a power failure at any moment after the return."""
    directory, name = os.path.split(path)
    # two threads may be at the same document, and neither may take the other's half for its own
    own = "" if threading.current_thread() is threading.main_thread() else f".{threading.get_ident()}"
    partial = f"{directory}/.{name}{own}.partial"
    data = memoryview(json.dumps(document, separators=(",", ":")).encode())
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        fd = os.open(partial, flags, mode)
    except FileNotFoundError:
        os.makedirs(directory, exist_ok=True)
        fd = os.open(partial, flags, mode)
    try:
        while data:
            data = data[os.write(fd, data) :]
        # what was not there before may be read as damaged, that is as not there, after a power failure; to name it
        # first and then to sync both costs the file system one commit instead of two
        sync_first = durable and os.path.exists(path)
        if sync_first:
            os.fsync(fd)
        _replace(partial, os.fspath(path), durable=durable)
        if durable and not sync_first:
            os.fsync(fd)
    finally:
        os.close(fd)
    if durable:
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _replace(partial: str, path: str, *, durable: bool) -> None:
    if not durable:
        with contextlib.suppress(OSError):  # nothing to exchange with, or a file system that cannot
            syscalls.exchange(partial, path)
            os.unlink(partial)
            return
    os.replace(partial, path)


def read(path: Path) -> Any:
    """The document, None if there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
