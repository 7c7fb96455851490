"""The operations on a container that exists: start, state, kill, pause, resume, update, delete."""

from __future__ import annotations

import contextlib
import os
import time

from services.nodeagent.keeper import pidfds
from services.nodeagent.oci import creation, hooks
from services.nodeagent.oci.diary import Diary
from services.nodeagent.oci.store import Record, Store
from shared import quickjson
from shared.errors import RuntimeFailure
from shared.kernel import signals
from shared.kernel.sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KILL_LIMIT_S = 10.0


def start(store: Store, container_id: str, diary: Diary) -> None:
    """Run the user's program. RuntimeFailure with its reason if it cannot be executed."""
    with store.locked(container_id):
        record = store.load(container_id)
        status = store.status(record)
        if status != "created":
            raise RuntimeFailure(f"container {container_id!r} cannot be started: it is {status}")
        if record.config.get("process") is None:
            raise RuntimeFailure(f"container {container_id!r} cannot be started: process is not set")
        with Socket() as channel:
            _connect(channel, store.path(container_id))
            os.unlink(store.path(container_id, "start.sock"))
            channel.send(b"go on")
            _hear(channel, diary)
        state = store.state(record, "running")
    for problem in hooks.run_regardless(record.parsed().hooks("poststart"), state, "poststart"):
        diary.warn(problem)


def _connect(channel: Socket, directory: str) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        channel.connect(f"/proc/self/fd/{fd}/start.sock")
    finally:
        os.close(fd)


def _hear(channel: Socket, diary: Diary) -> None:
    """Until the process has said that it executes and nothing after it."""
    executing, error = False, ""
    while data := _receive(channel):
        message: dict[str, Any] = quickjson.loads(data)
        executing = executing or "executing" in message
        error = message.get("error", error)
        if "warning" in message:
            diary.warn(message["warning"])
    if error or not executing:
        raise RuntimeFailure(error or "the container's process was killed before its program ran")


def _receive(channel: Socket) -> bytes:
    try:
        return channel.recv(8192)
    except ConnectionResetError:
        return b""


def number_of(name: str) -> int:
    """A signal by number or name, with or without SIG. ValueError for an unknown one."""
    import signal

    if name.isdecimal():
        value = int(name)
        if not 0 < value < signal.NSIG:
            raise ValueError(f"unknown signal {name!r}")
        return value
    word = name.upper().removeprefix("SIG")
    with contextlib.suppress(KeyError):
        return int(signal.Signals[f"SIG{word}"])
    for prefix, base, sign in (("RTMIN+", signal.SIGRTMIN, 1), ("RTMAX-", signal.SIGRTMAX, -1)):
        if word.startswith(prefix) and word.removeprefix(prefix).isdecimal():
            return int(base) + sign * int(word.removeprefix(prefix))
    raise ValueError(f"unknown signal {name!r}")


def kill(store: Store, container_id: str, number: int, *, everything: bool = False) -> None:
    """Send a signal to the first process, or to every process. RuntimeFailure unless created, running or paused."""
    record = store.load(container_id)
    status = store.status(record)
    if everything:
        record.groups().signal(number)
        return
    if status not in ("created", "running", "paused"):
        raise RuntimeFailure(f"container {container_id!r} cannot be signalled: it is {status}")
    fd = pidfds.open_again(record.pid, record.started)
    if fd < 0:
        raise RuntimeFailure(f"container {container_id!r} cannot be signalled: it is stopped")
    try:
        signals.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)
    if number == signals.SIGKILL and not record.parsed().new("pid"):
        record.groups().signal(signals.SIGKILL)  # the kernel does so only for the first of a PID namespace
    if number == signals.SIGKILL and status == "paused":
        record.groups().freeze(frozen=False)


def freeze(store: Store, container_id: str, *, frozen: bool) -> None:
    """Pause or resume."""
    with store.locked(container_id):
        record = store.load(container_id)
        status = store.status(record)
        allowed = ("created", "running") if frozen else ("paused",)
        if status not in allowed:
            raise RuntimeFailure(f"container {container_id!r} cannot be {'paused' if frozen else 'resumed'}: {status}")
        record.groups().freeze(frozen=frozen)


def update(store: Store, container_id: str, resources: dict[str, Any], diary: Diary) -> None:
    """Set other limits."""
    with store.locked(container_id):
        record = store.load(container_id)
        groups = record.groups()
        for warning in groups.apply(resources) + groups.restrict_devices(resources):
            diary.warn(warning)


def delete(store: Store, container_id: str, diary: Diary, *, force: bool = False) -> None:
    """Remove a stopped container; with `force` any, and none is no error then."""
    try:
        with store.locked(container_id):
            record = _take_down(store, container_id, force=force)
            state = store.state(record, "stopped")
            store.remove(container_id)
    except RuntimeFailure:
        if force and not os.path.exists(store.path(container_id)):
            return
        raise
    for problem in hooks.run_regardless(record.parsed().hooks("poststop"), state, "poststop"):
        diary.warn(problem)


def _take_down(store: Store, container_id: str, *, force: bool) -> Record:
    try:
        record = store.load(container_id)
    except RuntimeFailure:
        if force:  # a create that was interrupted before it had recorded anything
            store.remove(container_id)
        raise
    status = store.status(record)
    if status != "stopped":
        if not force:
            raise RuntimeFailure(f"container {container_id!r} cannot be deleted: it is {status}")
        _end(record)
    record.groups().remove()
    creation.unmount(record)
    return record


def _end(record: Record) -> None:
    """Kill the first process and see it gone."""
    fd = pidfds.open_again(record.pid, record.started)
    if fd < 0:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signals.pidfd_send_signal(fd, signals.SIGKILL)
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            record.groups().freeze(frozen=False)
    finally:
        os.close(fd)
    deadline = time.monotonic() + KILL_LIMIT_S
    while pidfds.start_time(record.pid) == record.started:
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"the process {record.pid} of container {record.id!r} does not end")
        time.sleep(0.001)
