"""Small JSON documents on disk, replaced whole, so that a reader never meets half of one."""

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, document: Any, *, durable: bool = False, mode: int = 0o600) -> None:
    """Replace `path`; with `durable` it also survives a power failure at any moment after the return."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))
        if durable:
            file.flush()
            os.fsync(fd)
    partial.replace(path)
    if durable:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read(path: Path) -> Any:
    """The document, None if there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
