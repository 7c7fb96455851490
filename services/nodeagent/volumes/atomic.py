"""Writing a set of files so that a reader sees either all of the old or all of the new ones.

The layout is the one that Kubernetes users and their file watchers know: the files lie in a time-stamped directory, the
link `..data` points to it and is swapped by rename(2), and every name in the volume is a link through `..data`.
"""

import os
import secrets
import time
from pathlib import Path, PurePosixPath

from services.nodeagent import trees
from services.nodeagent.volumes.payload import File, Payload

_DATA = "..data"
_NEW = "..data_tmp"


def write(directory: Path, files: Payload, group: int | None = None) -> bool:
    """Make `directory` show exactly `files`, owned by `group` if given; whether anything changed."""
    directory.mkdir(parents=True, exist_ok=True)
    _own(directory, 0o755, 0, group, is_directory=True)
    if read(directory) == files:
        return False
    version = f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{secrets.randbelow(10**9):09d}"
    target = directory / version
    target.mkdir()
    _own(target, 0o755, 0, group, is_directory=True)
    for path, file in files.items():
        _write_file(target, PurePosixPath(path), file, group)
    new = directory / _NEW
    new.unlink(missing_ok=True)
    new.symlink_to(version)
    new.rename(directory / _DATA)
    _link_names(directory, {PurePosixPath(path).parts[0] for path in files})
    for entry in directory.iterdir():
        if entry.name.startswith("..") and entry.name not in (_DATA, version) and not entry.is_symlink():
            trees.remove(entry)
    return True


def read(directory: Path) -> Payload | None:
    """The files shown at present, None if there are none yet."""
    data = directory / _DATA
    if not data.is_symlink() or not data.exists():
        return None
    root = data.resolve()
    files: Payload = {}
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            files[str(path.relative_to(root))] = File(path.read_bytes(), status.st_mode & 0o7777, status.st_uid)
    return files


def _write_file(root: Path, path: PurePosixPath, file: File, group: int | None) -> None:
    parent = root
    for part in path.parts[:-1]:
        parent = parent / part
        if not parent.exists():
            parent.mkdir()
            _own(parent, 0o755, 0, group, is_directory=True)
    target = root / path
    target.write_bytes(file.data)
    _own(target, file.mode, file.owner, group)


def _own(path: Path, mode: int, owner: int, group: int | None, *, is_directory: bool = False) -> None:
    if owner or group is not None:
        os.chown(path, owner, -1 if group is None else group)
    # chown(2) clears set-id bits, hence the mode comes last; set-group-id makes new files inherit the group.
    path.chmod(mode | 0o2000 if is_directory and group is not None else mode)


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.is_symlink() and entry.name not in names:
            entry.unlink()
