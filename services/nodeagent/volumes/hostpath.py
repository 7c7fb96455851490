"""hostPath volumes: a path of the node, checked or made according to its type. Source: core/v1 HostPathVolumeSource."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


def prepare(source: Mapping[str, Any]) -> Path:
    """The path to mount. Raises ConfigurationError if it is not of the wanted type."""
    path = Path(source["path"])
    kind = source.get("type") or ""
    if not kind:
        if not os.path.lexists(path):
            path.mkdir(parents=True, mode=0o755)
        return path
    if kind not in _CHECKS:
        raise ConfigurationError(f'hostPath type "{kind}" is not known')
    try:
        if kind == "DirectoryOrCreate" and not path.exists():
            path.mkdir(parents=True, mode=0o755)
        if kind == "FileOrCreate" and not path.exists():
            path.touch(mode=0o644)
    except OSError as exc:
        word = "open" if kind == "FileOrCreate" else "mkdir"
        raise ConfigurationError(f"{word} {path}: {os.strerror(exc.errno or 0).lower()}") from exc
    check, word = _CHECKS[kind]
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise ConfigurationError(f"hostPath type check failed: {path} is not a {word}") from exc
    if not check(mode):
        raise ConfigurationError(f"hostPath type check failed: {path} is not a {word}")
    return path
