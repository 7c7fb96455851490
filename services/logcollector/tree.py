"""The tree of log directories: finds pods, containers and files, and keeps one Tail for each file.

Why every look is a full look at one directory: inotify events only say where, so a lost or reordered event cannot make
the picture wrong for longer than until the next one.
"""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from services.logcollector import metrics
from services.logcollector.enrich import POD_FILE, Pod, read_pod
from services.logcollector.inotify import Change, Inotify
from services.logcollector.positions import Position
from services.logcollector.tail import NAME, Tail

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """A file that is read to its end and will not grow. Size and time (ns) tell it from a later one of its inode."""

    position: Position
    size: int
    modified: int

    def is_same(self, found: os.stat_result) -> bool:
        return (found.st_size, found.st_mtime_ns) == (self.size, self.modified)


@dataclass(slots=True)
class Container:
    """A container's log directory with its files, in reading order."""

    directory: Path
    pod: "PodDirectory"
    tails: dict[tuple[int, int], Tail] = field(default_factory=dict)
    done: dict[tuple[int, int], "Done"] = field(default_factory=dict)

    def ordered(self) -> list[Tail]:
        """Files in the order in which their lines were written."""
        return sorted(self.tails.values(), key=lambda tail: tail.order)


@dataclass(slots=True)
class PodDirectory:
    """A pod's log directory."""

    directory: Path
    pod: Pod
    containers: dict[str, Container] = field(default_factory=dict)


class Tree:
    """Everything below the node's log directory. `dirty` holds, in order, the directories of containers
    that may have something to read."""

    def __init__(self, root: Path, inotify: Inotify, stored: dict[int, list[Position]]) -> None:
        self._root = root
        self._inotify = inotify
        self._stored = stored
        self.pods: dict[str, PodDirectory] = {}
        self.dirty: dict[Path, None] = {}

    def scan(self) -> None:
        """Look at everything: at the start, and when events were lost."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._inotify.watch(self._root)
        names = {entry.name for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False)}
        for name in sorted(names | self.pods.keys()):
            self._look_at_pod(name)

    def apply(self, change: Change) -> None:
        """Take in one event."""
        if change.directory is None:
            log.warning("file events were lost, looking at everything")
            self.scan()
            return
        relative = change.directory.relative_to(self._root).parts
        if not relative:
            self._look_at_pod(change.name)
        elif len(relative) == 1:
            if change.name == POD_FILE:
                self._read_pod(relative[0])
            else:
                self._look_at_container(relative[0], change.name)
        elif change.is_content:
            self.dirty[change.directory] = None
        else:
            self._look_at_container(*relative[:2])

    def container(self, directory: Path) -> Container | None:
        """The container of a directory, None if it is gone and everything of it is read."""
        pod = self.pods.get(directory.parent.name)
        return pod.containers.get(directory.name) if pod else None

    def refresh(self, pod: PodDirectory) -> None:
        """Read pod.json again, if it was not there the last time."""
        if not pod.pod.documented:
            self._read_pod(pod.directory.name)

    def drop(self, container: Container, tail: Tail) -> None:
        """Close a file that is read to its end and will not grow; its container and pod go with the last one."""
        found = os.fstat(tail.fd)
        tail.close()
        del container.tails[tail.key]
        if found.st_nlink:
            container.done[tail.key] = Done(tail.position, found.st_size, found.st_mtime_ns)
        metrics.CLOSED.labels(*metrics.TAIL).inc()
        for gauge in (metrics.POSITION, metrics.INODE):
            gauge.remove(*metrics.TAIL, str(tail.path))
        pod = container.pod
        if not container.tails and not container.directory.is_dir():
            pod.containers.pop(container.directory.name, None)
            if not pod.containers and not pod.directory.is_dir():
                self.pods.pop(pod.directory.name, None)

    def tails(self) -> list[Tail]:
        """All files."""
        return [
            t for pod in self.pods.values() for container in pod.containers.values() for t in container.tails.values()
        ]

    def positions(self) -> list[Position]:
        """Where every file stands, the finished ones that are still there included."""
        found = [tail.position for tail in self.tails()]
        for pod in self.pods.values():
            for container in pod.containers.values():
                found.extend(done.position for done in container.done.values())
        return found

    def close(self) -> None:
        """Release every descriptor."""
        for tail in self.tails():
            tail.close()

    def _look_at_pod(self, name: str) -> None:
        directory = self._root / name
        known = self.pods.get(name)
        if known is None:
            pod = read_pod(directory) if directory.is_dir() else None
            if pod is None:
                return
            known = self.pods[name] = PodDirectory(directory, pod)
        self._inotify.watch(directory)
        self._read_pod(name)
        try:
            found = {entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)}
        except OSError:
            found = set()
        for container in sorted(found | known.containers.keys()):
            self._look_at_container(name, container)
        if not known.containers and not directory.is_dir():
            del self.pods[name]

    def _read_pod(self, name: str) -> None:
        known = self.pods.get(name)
        if known is not None and (pod := read_pod(known.directory)) is not None and pod.documented:
            known.pod = pod

    def _look_at_container(self, pod_name: str, name: str) -> None:
        pod = self.pods.get(pod_name)
        if pod is None:
            return
        directory = pod.directory / name
        container = pod.containers.get(name)
        if container is None:
            if not directory.is_dir() or directory.is_symlink():
                return
            container = pod.containers[name] = Container(directory, pod)
        self._inotify.watch(directory)
        try:
            names = [entry.name for entry in os.scandir(directory) if NAME.match(entry.name)]
        except OSError:
            names = []
        keys = {key for file in names if (key := self._look_at_file(container, directory / file))}
        for key in container.done.keys() - keys:
            del container.done[key]
        if container.tails or directory.is_dir():
            self.dirty[directory] = None
        else:
            del pod.containers[name]

    def _look_at_file(self, container: Container, path: Path) -> tuple[int, int] | None:
        try:
            found = os.lstat(path)
            key = (found.st_dev, found.st_ino)
            tail = container.tails.get(key)
            if tail is None:
                stored = self._stored
                if (done := container.done.pop(key, None)) is not None:
                    if done.is_same(found):
                        container.done[key] = done
                        return key
                    stored = {found.st_ino: [done.position]}
                tail = Tail(path, container.pod.pod.uid, stored)
                container.tails[tail.key] = tail
                metrics.OPENED.labels(*metrics.TAIL).inc()
            elif tail.path != path:
                for gauge in (metrics.POSITION, metrics.INODE):
                    gauge.remove(*metrics.TAIL, str(tail.path))
                tail.path = path
                metrics.ROTATED.labels(*metrics.TAIL).inc()
        except OSError as exc:
            # removed between the listing and now, or not ours to read
            log.info("log file %s cannot be opened: %s", path, exc.strerror)
            return None
        metrics.INODE.labels(*metrics.TAIL, str(path)).set(tail.key[1])
        metrics.POSITION.labels(*metrics.TAIL, str(path)).set(tail.position.offset)
        return tail.key
