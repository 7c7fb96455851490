"""Removing directory trees that containers have written: of any depth, links never followed, by several at once.

A tree is renamed first, which only one can do, so that two who want it gone do not trip over each other.
"""

import asyncio
import contextlib
import itertools
import os
from pathlib import Path

from services.nodeagent.images.paths import remove_tree

_count = itertools.count()


def remove(path: Path) -> None:
    """Remove a tree or file; a missing one is fine. Nothing may be mounted below it. Raises OSError."""
    grave = path.with_name(f".{path.name[:128]}.removed-{os.getpid()}-{next(_count)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(grave)
        remove_tree(grave)


async def remove_all(*paths: Path) -> None:
    """Remove several trees in a thread of their own."""

    def work() -> None:
        for path in paths:
            remove(path)

    await asyncio.to_thread(work)
