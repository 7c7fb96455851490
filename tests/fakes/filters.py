"""What the kernel makes of a seccomp filter: an interpreter of the BPF instructions of ours, see seccomp(2)."""

from __future__ import annotations

import struct

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000


def refused(code: int) -> int:
    """The answer that makes a call fail with an errno."""
    return 0x00050000 | code


def run(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """The filter's answer to a system call."""
    values = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("IIQ6Q", number, architecture, 0, *values)
    code = list(struct.iter_unpack("HBBI", program))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        match operation:
            case 0x20:
                accumulator = struct.unpack_from("I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x06:
                return int(value)
            case 0x05:
                position += value
            case 0x15:
                position += if_true if accumulator == value else if_false
            case 0x25:
                position += if_true if accumulator > value else if_false
            case 0x35:
                position += if_true if accumulator >= value else if_false
            case 0x45:
                position += if_true if accumulator & value else if_false
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")
