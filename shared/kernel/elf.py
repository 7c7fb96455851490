"""Static programs made in memory (elf(5)): for processes so small that an interpreter would be most of them.

They are executed from a sealed memfd(2), so what a container could reach through /proc/<pid>/exe is nobody's file and
cannot be written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from shared.records import frozen

BASE = 0x400000
HEADERS = 64
_SEGMENT = 56
_PAGE = 0x1000
_EXECUTE, _WRITE, _READ = 1, 2, 4
_MFD_EXEC = 0x10


@frozen
class Room:
    """Memory that can be written, at `address` (a multiple of the page size): `data`, then zeros up to `size` bytes."""

    address: int
    data: bytes
    size: int


def image(machine: int, code: bytes, room: Room | None = None) -> bytes:
    """A program that begins with the first byte of `code`, which can address itself only relatively; `machine` is
    e_machine."""
    count = 1 if room is None else 2
    entry = HEADERS + count * _SEGMENT
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,  # executable
        machine,
        1,
        BASE + entry,
        HEADERS,
        0,
        0,
        HEADERS,
        _SEGMENT,
        count,
        0,
        0,
        0,
    )
    size = entry + len(code)
    segments = _segment(_READ | _EXECUTE, 0, BASE, size, size)
    if room is None:
        return header + segments + code
    offset = size + -size % _PAGE
    segments += _segment(_READ | _WRITE, offset, room.address, len(room.data), room.size)
    return (header + segments + code).ljust(offset, b"\0") + room.data


def _segment(flags: int, offset: int, address: int, in_file: int, in_memory: int) -> bytes:
    return struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, in_file, in_memory, _PAGE)


def sealed(name: str, program: bytes) -> int:
    """A descriptor for execveat(2), closed by it, of a file in memory that nobody can change."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # before Linux 6.3 every such file could be executed
            raise
        fd = os.memfd_create(name, flags)
    os.write(fd, program)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd
