"""What is known of the containers of one `--root`: a directory each, since no daemon remembers anything.

`state.json` holds what never changes after create; whether the container runs is asked of the kernel, by the first
process's pid and start time. `start.sock` is there as long as that process waits for `start`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from services.nodeagent.keeper import pidfds
from services.nodeagent.oci.config import VERSION_MAX, Config
from services.nodeagent.oci.groups import ContainerGroups
from shared import quickjson
from shared.errors import RuntimeFailure
from shared.records import as_dict, field, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ROOT = "/run/wherry-runtime"
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")


@mutable
class Record:
    """One container. `pid` 0: it is being created; `started` is the start time of the first process in clock ticks;
    `made_groups` the directories of control groups made for it; `mounts` those below its root when it has no mount
    namespace of its own, in the namespace at `mount_namespace` ("": the runtime's). `streams` is what
    streams.of_process found when the container was made."""

    id: str
    bundle: str
    root: str
    config: dict[str, Any]
    created: str
    pid: int = 0
    started: int = 0
    cgroup: str = ""
    made_groups: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    mount_namespace: str = ""
    streams: dict[str, str] = field(default_factory=dict)

    def parsed(self) -> Config:
        kinds = {entry["type"]: entry.get("path") or "" for entry in self.linux.get("namespaces") or ()}
        return Config(self.bundle, self.config, self.root, kinds)

    @property
    def linux(self) -> dict[str, Any]:
        return self.config.get("linux") or {}

    def groups(self) -> ContainerGroups:
        return ContainerGroups(self.cgroup, self.made_groups)


class Store:
    """The containers below one root directory."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def path(self, container_id: str, name: str = "") -> str:
        """A file of one container. ValueError for an id that is no plain file name."""
        if not 0 < len(container_id) <= 1024 or not _LETTERS.issuperset(container_id) or container_id in (".", ".."):
            raise ValueError(f"container id {container_id!r} is not made of letters, digits and _+-.")
        return os.path.join(self.root, container_id, name) if name else os.path.join(self.root, container_id)

    def reserve(self, container_id: str) -> str:
        """Make a container's directory. RuntimeFailure if the id is taken."""
        path = self.path(container_id)
        os.makedirs(self.root, mode=0o711, exist_ok=True)
        try:
            os.mkdir(path, 0o711)
        except FileExistsError as exc:
            raise RuntimeFailure(f"container {container_id!r} exists already") from exc
        return path

    def save(self, record: Record) -> None:
        temporary = self.path(record.id, "state.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(quickjson.dumps(as_dict(record)))
        os.rename(temporary, self.path(record.id, "state.json"))

    def load(self, container_id: str) -> Record:
        """RuntimeFailure if there is no such container."""
        try:
            with open(self.path(container_id, "state.json"), encoding="utf-8") as file:
                return Record(**quickjson.loads(file.read()))
        except FileNotFoundError as exc:
            raise RuntimeFailure(f"container {container_id!r} does not exist") from exc

    def ids(self) -> list[str]:
        try:
            return sorted(entry for entry in os.listdir(self.root) if os.path.isdir(os.path.join(self.root, entry)))
        except FileNotFoundError:
            return []

    def remove(self, container_id: str) -> None:
        path = self.path(container_id)
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)

    @contextmanager
    def locked(self, container_id: str) -> Iterator[None]:
        """Be the only one who changes a container; RuntimeFailure if it does not exist."""
        try:
            fd = os.open(self.path(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise RuntimeFailure(f"container {container_id!r} does not exist") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def status(self, record: Record) -> str:
        """creating, created, running, paused or stopped."""
        if not record.pid:
            return "creating"
        if pidfds.start_time(record.pid) != record.started or not record.started:
            return "stopped"
        if os.path.exists(self.path(record.id, "start.sock")):
            return "created"
        with contextlib.suppress(OSError, RuntimeError):
            if record.groups().frozen():
                return "paused"
        return "running"

    def state(self, record: Record, status: str = "") -> dict[str, Any]:
        """The state as the runtime specification defines it (runtime.md, "State")."""
        status = status or self.status(record)
        result = {
            "ociVersion": VERSION_MAX,
            "id": record.id,
            "status": status,
            "pid": 0 if status == "stopped" else record.pid,
            "bundle": record.bundle,
            "annotations": record.config.get("annotations") or {},
        }
        if not result["annotations"]:
            del result["annotations"]
        return result
