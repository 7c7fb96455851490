"""Attributes for directories that a layer only passes through.

Why: a layer may bring `tmp/x` without an entry for `tmp`. Unpacked alone, `tmp` becomes root's 0755, and because
overlayfs takes a directory's attributes from the topmost layer that has it, the image's real `tmp` (1777) would be
lost. Layers are shared between images with different bases, so the layer itself must not be changed; instead a tiny
extra layer, directly above it, repeats those directories as the lower layers have them.
Source: overlayfs.rst, "Merging directories" (name lists are merged, attributes are those of the upper directory).
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.nodeagent.images.model import Layer
from services.nodeagent.images.unpack import OPAQUE_XATTR


@dataclass(frozen=True, slots=True)
class Attributes:
    """Mode, owner and group of a directory."""

    mode: int
    uid: int
    gid: int

    @staticmethod
    def of(found: os.stat_result) -> "Attributes":
        return Attributes(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def wanted(layer: Path, implicit: Sequence[str], lower: Sequence[Path]) -> dict[str, Attributes]:
    """The attributes that implicit directories of `layer` have in `lower` (bottom first), where they differ."""
    out: dict[str, Attributes] = {}
    for path in sorted(implicit):
        here = _directory(layer, path)
        if here is None or _hidden_above(layer, path):
            continue
        for below in reversed(lower):
            there = _entry(below, path)
            if there is not None and stat.S_ISDIR(there.st_mode):
                if Attributes.of(there) != Attributes.of(here):
                    out[path] = Attributes.of(there)
                break
            if there is not None or _hidden_above(below, path):
                break  # whited out, replaced or cut off by an opaque parent: nothing lower shows through
    return out


def name_of(layer: Layer, attributes: dict[str, Attributes]) -> str:
    """The name of the extra layer: the same need gives the same name, so that images share it."""
    text = layer.diff_id + "".join(f"\0{p}\0{a.mode:o}\0{a.uid}\0{a.gid}" for p, a in sorted(attributes.items()))
    return "p" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def build(target: Path, layer: Path, attributes: dict[str, Attributes]) -> None:
    """Make the extra layer's tree in the empty directory `target`; parents in between repeat what `layer` has."""
    for path in sorted(attributes):
        steps = Path(path).parts
        for depth in range(1, len(steps) + 1):
            part = str(Path(*steps[:depth]))
            made = target / part
            if not made.exists():
                made.mkdir()
                seen = _directory(layer, part)
                _apply(made, attributes.get(part) or (Attributes.of(seen) if seen else Attributes(0o755, 0, 0)))


def _apply(path: Path, attributes: Attributes) -> None:
    os.chown(path, attributes.uid, attributes.gid)
    os.chmod(path, attributes.mode)


def _entry(layer: Path, path: str) -> os.stat_result | None:
    """lstat of `path` inside a layer, None if any part of it is missing or no real directory leads to it."""
    here = layer
    found: os.stat_result | None = None
    for part in Path(path).parts:
        if found is not None and not stat.S_ISDIR(found.st_mode):
            return found
        here = here / part
        try:
            found = os.lstat(here)
        except OSError:
            return None
    return found


def _directory(layer: Path, path: str) -> os.stat_result | None:
    found = _entry(layer, path)
    return found if found is not None and stat.S_ISDIR(found.st_mode) and not _is_link_on_way(layer, path) else None


def _is_link_on_way(layer: Path, path: str) -> bool:
    parts = Path(path).parts
    return any(os.path.islink(layer.joinpath(*parts[:depth])) for depth in range(1, len(parts) + 1))


def _hidden_above(layer: Path, path: str) -> bool:
    """Whether `path` or a parent of it is opaque in `layer`, so that lower layers do not show through."""
    parts = Path(path).parts
    for depth in range(1, len(parts) + 1):
        try:
            if os.getxattr(layer.joinpath(*parts[:depth]), OPAQUE_XATTR, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False
