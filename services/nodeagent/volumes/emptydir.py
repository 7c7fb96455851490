"""emptyDir volumes: a directory that lives as long as the pod, on the disk or on a tmpfs.

A tmpfs is mounted by the agent and not by the container, because all containers of the pod share it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError
from shared.kernel import mounts, syscalls
from shared.objects import quantities


def prepare(directory: Path, source: Mapping[str, Any], group: int | None, memory_limit: int) -> Path:
    """Make the directory; `memory_limit` (bytes, 0 for none) bounds a tmpfs without a sizeLimit of its own."""
    medium = source.get("medium") or ""
    if medium not in ("", "Memory"):
        raise ConfigurationError(f'emptyDir medium "{medium}" is not supported')
    directory.mkdir(parents=True, exist_ok=True)
    if medium == "Memory" and not mounts.is_mount_point(directory):
        limits = [quantities.value(str(source["sizeLimit"]))] if source.get("sizeLimit") else []
        limits += [memory_limit] if memory_limit else []
        options = "mode=0777" + (f",size={min(limits)}" if limits else "")
        syscalls.mount("tmpfs", str(directory), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    if group is not None:
        os.chown(directory, -1, group)
    directory.chmod(0o2777 if group is not None else 0o777)
    return directory
