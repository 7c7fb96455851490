"""The process that gives birth to containers: some pages of memory, so that its forks cost next to nothing.

The keeper sends it an order over a SOCK_SEQPACKET socket: a list of system calls (shared/kernel/calls.py), what the
list refers to, and descriptors. The zygote makes a process, which becomes a child of the keeper (CLONE_PARENT) and
carries out the list, sends its pid and pidfd back, and waits for the next order. None of what the keeper knows, other
pods' secrets above all, is in the memory of a process on its way into a container.

It ends with the keeper, whose end of the socket closes. If it has been killed or anything else fails, the keeper makes
the process itself (see births.py): the zygote is a shortcut, nothing depends on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Iterable

from services.nodeagent.keeper import launch, pidfds
from shared.kernel import calls, elf, syscalls
from shared.kernel.calls import ENTRY, Data, Slot, call

_SOCKET = 3
_OWN_PIDS = 4  # the zygote's PID namespace, to return to
FIRST = 5  # the first of the descriptors that come with an order, the channel
CHANNEL = FIRST

_ROOM = 0x600000
_ORDER = 0x700000  # where an order is put
_ORDER_MAX = 128 << 10  # less than what a socket takes at once (net.core.wmem_default)
_CONTROL_MAX = 256
ANSWER_LIMIT_S = 5.0

# an order: address of its first entry, slots, failure list, strings of every order, data of this one, entries
_SLOTS = _ORDER + 8
_SLOT_COUNT = 16
_FAILURE = _ORDER + 0x100
_CONSTANTS = _ORDER + 0x200
_CONSTANTS_MAX = 0x1E00
_DATA = _CONSTANTS + _CONSTANTS_MAX

AGAIN = b"again\0\0\0"
"""What the channel tells of a list that could not be carried out; then come the error and the address of the entry."""

GO = b"go"
"""The word on the channel that a process waits for before it does anything."""

_TRIES = 3  # so many orders in a row may fail before it is given up
_MSG_NOSIGNAL = 0x4000
_MSG_CMSG_CLOEXEC = 0x40000000
_EXIT_CODE = 128

constants = Data(_CONSTANTS, _CONSTANTS_MAX)
"""Strings that any list may refer to. They are never forgotten: only for what comes again and again."""


def slot(number: int) -> Slot:
    """One of 16 places for results, empty at the beginning of an order; the last one is the zygote's."""
    return Slot(_SLOTS + 8 * number)


class Unavailable(Exception):
    """No process has been made this way; it has to be made another way."""


class Unlisted(Exception):
    """Raised by who composes an order: this process is not one for a list."""


class Order:
    """A process to be made with clone3's `flags`. `add` takes its list, `data` what the list refers to.

    `fds` are the descriptors it gets besides its channel; `pid_namespace` is a pidfd of the one it is born in.
    """

    def __init__(
        self, flags: int, channel: int, fds: Iterable[int], cgroup_fd: int = -1, pid_namespace: int = -1
    ) -> None:
        self._flags = flags
        self.fds = [channel]
        for fd in (*fds, cgroup_fd, pid_namespace):
            if fd >= 0 and fd not in self.fds:
                self.fds.append(fd)
        self._cgroup = self.number(cgroup_fd) if cgroup_fd >= 0 else -1
        self._pids = self.number(pid_namespace) if pid_namespace >= 0 else -1
        self.data = Data(_DATA, _ORDER_MAX)
        self._list: list[bytes] = []

    def number(self, fd: int) -> int:
        """Which number a descriptor has in the process."""
        return FIRST + self.fds.index(fd)

    def add(self, *entries: bytes) -> None:
        self._list += entries

    def message(self) -> bytes:
        """What the zygote gets. OverflowError if it is too long."""
        body = b"".join((*_wait(), *self._list))
        clone = self._clone()
        data = self.data.content()
        first = _DATA + len(data)
        head = self._bear(clone, first, inside=self._pids >= 0)
        beginning = struct.pack("<Q", first).ljust(_FAILURE - _ORDER - len(AGAIN) - 16, b"\0")
        message = b"".join(
            (
                beginning,
                AGAIN,
                b"\0" * 16,
                _failure().ljust(_CONSTANTS - _FAILURE, b"\0"),
                constants.content().ljust(_CONSTANTS_MAX, b"\0"),
                data,
                head,
                body,
            )
        )
        if len(message) > _ORDER_MAX:
            raise OverflowError(f"an order of {len(message)} bytes is longer than {_ORDER_MAX}")
        return message

    def _clone(self) -> int:
        """The address of struct clone_args (clone(2)), aligned as the entries after it must be."""
        flags = self._flags | syscalls.CLONE_PIDFD | syscalls.CLONE_PARENT
        if self._cgroup >= 0:
            flags |= syscalls.CLONE_INTO_CGROUP
        values = (flags, _REPLY_FD, 0, 0, 0, 0, 0, 0, 0, 0, max(self._cgroup, 0))
        return self.data.put(struct.pack("<11Q", *values))

    def _bear(self, clone: int, first: int, *, inside: bool) -> bytes:
        """What the zygote itself does; the process goes on with the last entry."""
        head = [call("setns", self._pids, syscalls.CLONE_NEWPID)] if inside else []
        head.append(call("clone3", clone, 88, keep=_REPLY_PID, on_zero=4 if inside else 3))
        if inside:
            head.append(call("setns", _OWN_PIDS, syscalls.CLONE_NEWPID))
        # before the keeper hears of the process: its end is the end of the channel too, which nobody else may hold then
        head.append(call("close_range", FIRST, FIRST + len(self.fds) - 1, 0))
        head.append(calls.enter(_BORN, _END))
        head.append(calls.enter(first + (len(head) + 1) * ENTRY, _FAILURE))
        return b"".join(head)


def _wait() -> tuple[bytes, ...]:
    """Go on with the keeper's word, end with the channel's."""
    return (
        call("recvfrom", CHANNEL, _SLOTS + 8 * (_SLOT_COUNT - 1), len(GO), 0, 0, 0, on_success=2, on_zero=1),
        call("exit_group", _EXIT_CODE),
    )


def _failure() -> bytes:
    """Tell the keeper how far the list came, and end."""
    report = _FAILURE - len(AGAIN) - 16
    return call("sendto", CHANNEL, report, len(AGAIN) + 16, _MSG_NOSIGNAL, tolerate=calls.ANY) + call(
        "exit_group", _EXIT_CODE
    )


# the zygote's own data: two struct msghdr (recvmsg(2)), with what they point to, then its list
_RECEIVE, _ANSWER, _VECTORS = _ROOM, _ROOM + 56, _ROOM + 112
_REPLY_PID = _ROOM + 144
_REPLY_CONTROL = _ROOM + 152
_REPLY_FD = _REPLY_CONTROL + 16
_CONTROL = _ROOM + 192
_NAMES = _CONTROL + _CONTROL_MAX
_BOOT = _NAMES + 64
_BORN = _BOOT + 6 * ENTRY
_END = _BOOT + 9 * ENTRY + 16
_CONTROL_LENGTH = _RECEIVE + 40


def program() -> bytes:
    """The zygote as an ELF file. LookupError for a machine that is not supported."""
    head = struct.pack("<QQQQQQQ", 0, 0, _VECTORS, 1, _CONTROL, _CONTROL_MAX, 0)
    head += struct.pack("<QQQQQQQ", 0, 0, _VECTORS + 16, 1, _REPLY_CONTROL, 24, 0)
    head += struct.pack("<QQQQ", _ORDER, _ORDER_MAX, _REPLY_PID, 8)
    head += struct.pack("<QQiiI", 0, 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, 0)
    own, name = _NAMES, _NAMES + 32
    boot = [
        call("prctl", syscalls.PR_SET_NAME, name),
        call("open", own, os.O_RDONLY | os.O_CLOEXEC),  # becomes _OWN_PIDS
        call("prctl", syscalls.PR_SET_DUMPABLE, 0),
        calls.move(_CONTROL_LENGTH, _CONTROL_MAX),  # recvmsg(2) changes it
        call("recvmsg", _SOCKET, _RECEIVE, _MSG_CMSG_CLOEXEC, tolerate=calls.errors(4), on_error=-1, on_zero=4),
        calls.enter(Slot(_ORDER), _END),
        call("sendmsg", _SOCKET, _ANSWER, _MSG_NOSIGNAL),
        call("close_range", FIRST, (1 << 32) - 1, 0, on_success=-4),
        call("exit_group", 0),  # the keeper has gone
    ]
    end = b"\0" * 16 + call("exit_group", 0)
    room = head.ljust(_NAMES - _ROOM, b"\0") + b"/proc/self/ns/pid".ljust(32, b"\0") + b"wherry-zygote".ljust(32, b"\0")
    room += b"".join(boot) + end
    return elf.image(
        calls.elf_machine(), calls.program(_BOOT, _END), elf.Room(_ROOM, room, _ORDER + _ORDER_MAX - _ROOM)
    )


class Zygote:
    """The keeper's end. It is started with the first order, and anew when it has gone."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._pidfd = -1
        self._failures = 0

    def bear(self, order: Order) -> tuple[int, int]:
        """(pid, pidfd) of the new process, a child of this one. Unavailable if it could not be made; OverflowError."""
        if not calls.supported() or self._failures >= _TRIES:
            raise Unavailable
        try:
            message = order.message()
            connection = self._socket or self._start()
            socket.send_fds(connection, [message], order.fds)
            answer, fds, _flags, _address = socket.recv_fds(connection, 8, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as exc:
            self._fail()
            raise Unavailable from exc
        if len(answer) < 8 or not fds:
            self._fail()
            raise Unavailable
        self._failures = 0
        os.set_inheritable(fds[0], False)
        return struct.unpack("<q", answer)[0], fds[0]

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with theirs:
            pid, pidfd = syscalls.clone(0)
            if pid == 0:
                launch.run(_become, theirs)
        pidfds.expected.add(pid)
        self._pidfd = pidfd
        ours.settimeout(ANSWER_LIMIT_S)
        self._socket = ours
        return ours

    def _fail(self) -> None:
        self._failures += 1
        self.close()

    def close(self) -> None:
        """End it; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            pidfds.wait(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _become(channel: launch.Channel) -> None:
    """In a fork of the keeper: become the zygote."""
    channel.close_others(set())
    image = elf.sealed("zygote", program())
    null = os.open("/dev/null", os.O_RDWR)
    program_fd, connection = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (image, channel.fileno()))
    for target in range(3):
        os.dup2(null, target, inheritable=True)
    os.dup2(connection, _SOCKET, inheritable=True)
    os.closerange(_OWN_PIDS, 100)
    os.setsid()
    syscalls.execveat(program_fd, [b"wherry-zygote"], [])
