"""Bringing a persistent source to a path of the node: directories as they are, everything else mounted.

Mounts lie in a directory of the pod that is never emptied, only unmounted and removed, so that no cleaning up can reach
the data behind them.

Source: core/v1 PersistentVolumeSource; mount(8) for the options.
"""

import asyncio
import contextlib
import shutil
import stat
from pathlib import Path

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.layout import PodLayout
from services.nodeagent.volumes import hostpath
from services.nodeagent.volumes.claims import Source
from shared.kernel import mounts, syscalls

LIMIT_S = 110.0
"""How long a mount may take; kubelet gives up after two minutes."""
PROVIDED_MODE = 0o777
DEFAULT_FILE_SYSTEM = "ext4"
BIND_OPTIONS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "noatime": syscalls.MS_NOATIME,
    "nodiratime": syscalls.MS_NODIRATIME,
    "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME,
    "nosymfollow": syscalls.MS_NOSYMFOLLOW,
    "rw": 0,
}


def place(layout: PodLayout, name: str, source: Source) -> Path:
    """Where the pod's volume `name` is, or will be."""
    if source.kind == "hostPath" or (source.kind == "local" and not source.options and not _is_device(source)):
        return Path(source.spec["path"])
    return layout.mount(name)


async def prepare(layout: PodLayout, name: str, source: Source) -> Path:
    """Make the volume available and return its path. Raises ConfigurationError or OSError."""
    target = place(layout, name, source)
    if source.kind == "hostPath":
        if source.options:
            raise ConfigurationError("Mount options are not supported for this volume type")
        return hostpath.prepare(source.spec)
    if source.kind == "nfs":
        await _mount_nfs(source, target)
        return target
    if source.kind != "local":
        raise ConfigurationError(f"volumes of type {source.kind or 'unknown'} are not supported by this node")
    path = Path(source.spec["path"])
    if source.provided:
        _provide(path, layout.node.volumes)
    if not path.exists():
        raise ConfigurationError(f'path "{path}" does not exist')
    if _is_device(source):
        kind = source.spec.get("fsType") or DEFAULT_FILE_SYSTEM
        await _mount(target, ["-t", kind, *_options(source.options), str(path)])
    elif target != path:
        _bind(path, target, source.options)
    return target


def cleanup(layout: PodLayout) -> None:
    """Unmount everything of the pod, then remove the empty directories. Raises OSError if one is not empty."""
    if layout.root.exists():
        mounts.unmount_below(layout.root)
    if layout.mounts.exists():
        for target in layout.mounts.iterdir():
            target.rmdir()
        layout.mounts.rmdir()


def _provide(path: Path, directory: Path) -> None:
    """Make the directory of a volume that the built-in provisioner promised."""
    if path.parent != directory:
        raise ConfigurationError(f'path "{path}" of the volume is not inside {directory}')
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(PROVIDED_MODE)


def _is_device(source: Source) -> bool:
    try:
        return stat.S_ISBLK(Path(source.spec["path"]).stat().st_mode)
    except OSError:
        return False


def _bind(path: Path, target: Path, options: list[str]) -> None:
    unknown = [option for option in options if option not in BIND_OPTIONS]
    if unknown:
        raise ConfigurationError(f'mount option "{unknown[0]}" does not apply to a directory')
    flags = 0
    for option in options:
        flags |= BIND_OPTIONS[option]
    target.mkdir(parents=True, exist_ok=True)
    if not mounts.is_mount_point(target):
        mounts.bind(str(path), str(target))
    syscalls.mount("", str(target), "", syscalls.MS_BIND | syscalls.MS_REMOUNT | flags)


async def _mount_nfs(source: Source, target: Path) -> None:
    if shutil.which("mount.nfs") is None:
        raise ConfigurationError("mount.nfs is missing on this node: install nfs-common (Debian) or nfs-utils")
    options = [*source.options, *(["ro"] if source.spec.get("readOnly") else [])]
    await _mount(target, ["-t", "nfs", *_options(options), f"{source.spec['server']}:{source.spec['path']}"])


def _options(options: list[str]) -> list[str]:
    return ["-o", ",".join(options)] if options else []


async def _mount(target: Path, arguments: list[str]) -> None:
    """mount(8): it knows the helpers of every file system."""
    target.mkdir(parents=True, exist_ok=True)
    if mounts.is_mount_point(target):
        return
    process = await asyncio.create_subprocess_exec(
        "mount", *arguments, str(target), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            _, output = await process.communicate()
    except TimeoutError as exc:
        raise ConfigurationError(f"mount {' '.join(arguments)} did not end within {LIMIT_S:g} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        text = " ".join(output.decode(errors="replace").split())
        raise ConfigurationError(f"mount {' '.join(arguments)} failed with status {process.returncode}: {text}")
