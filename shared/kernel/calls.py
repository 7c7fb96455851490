"""Lists of system calls that a process carries out by itself, with no interpreter and hence no memory to speak of.

A fork of a Python process copies hundreds of page table entries and then, by merely counting references, page after
page: that was half of what the start of a container took. Here the decisions are made once, by Python, in the form of a
list; the process that carries it out is a machine program of some 60 instructions, whose only knowledge is: load the
arguments, call the kernel, go on to the entry that belongs to the result. See keeper/zygote.py for who runs it.

An entry is 96 bytes, all numbers little-endian:

| offset | |
|---|---|
| 0 | number of the call (see numbers.py), or MOVE, ENTER |
| 8 | six arguments |
| 56 | bits of the arguments (of the first four) that are addresses of where the argument is |
| 60 | how many bytes further the next entry is after a result above 0 |
| 64 | address at which the result is kept, 0 for nowhere |
| 72 | bits of the errors that are no failure |
| 80 | where to go on after such an error |
| 84 | where to go on after the result 0 |

Any other error is a failure: it and the entry's address are written into the 16 bytes before the failure list, which is
then carried out. Nothing is pushed on a stack and no register outlives an entry but the two that name entry and failure
list.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable

from shared.kernel import numbers

ENTRY = 96
MOVE = -1  # write the second argument at the address that is the first
ENTER = -2  # go on at the first argument; from now on the second is the failure list

# rbx: the entry; r14: the failure list. The two addresses at the beginning are filled in by `program`.
_BEGIN = (b"\xbb", b"\x41\xbe")  # mov ebx, ...; mov r14d, ...
_LOOP = bytes.fromhex(
    "488b03"  # loop: mov rax, [rbx]
    "488b7b08 488b7310 488b5318"  # mov rdi, [rbx+8]; rsi, [rbx+16]; rdx, [rbx+24]
    "4c8b5320 4c8b4328 4c8b4b30"  # mov r10, [rbx+32]; r8, [rbx+40]; r9, [rbx+48]
    "8b6b38"  # mov ebp, [rbx+56]
    "40f6c501 7403 488b3f"  # test bpl, 1; jz over; mov rdi, [rdi]
    "40f6c502 7403 488b36"  # test bpl, 2; jz over; mov rsi, [rsi]
    "40f6c504 7403 488b12"  # test bpl, 4; jz over; mov rdx, [rdx]
    "40f6c508 7403 4d8b12"  # test bpl, 8; jz over; mov r10, [r10]
    "4885c0 7854"  # test rax, rax; js special
    "0f05"  # syscall
    "4c8b6340 4d85e4 7404 49890424"  # mov r12, [rbx+64]; test r12, r12; jz over; mov [r12], rax
    "483d01f0ffff 7314"  # cmp rax, -4095; jae error
    "4885c0 7409"  # test rax, rax; jz zero
    "4863433c"  # next: movsxd rax, dword [rbx+60]
    "4801c3 eb94"  # advance: add rbx, rax; jmp loop
    "48634354 ebf5"  # zero: movsxd rax, dword [rbx+84]; jmp advance
    "48f7d8 4883f83f 7710"  # error: neg rax; cmp rax, 63; ja fail
    "4c8b6348 490fa3c4 7306"  # mov r12, [rbx+72]; bt r12, rax; jnc fail
    "48634350 ebdc"  # movsxd rax, dword [rbx+80]; jmp advance
    "498946f0 49895ef8"  # fail: mov [r14-16], rax; mov [r14-8], rbx
    "4c89f3 e965ffffff"  # mov rbx, r14; jmp loop
    "4883f8ff 7505"  # special: cmp rax, -1; jne enter
    "488937 ebbd"  # mov [rdi], rsi; jmp next
    "4889fb 4989f6 e94fffffff"  # enter: mov rbx, rdi; mov r14, rsi; jmp loop
)

_MACHINES = {"x86_64": 62}
_HERE = _MACHINES.get(numbers.MACHINE)
_PACKED = struct.Struct("<q6QIiQQiiQ")
_WORD = (1 << 64) - 1
_NO_MORE = (0, 0, 0, 0, 0)


def supported() -> bool:
    """Whether the machine program is known for this machine."""
    return _HERE is not None


def elf_machine() -> int:
    """What elf(5) calls e_machine. LookupError for a machine that is not supported."""
    if _HERE is None:
        raise LookupError(f"no machine program for {numbers.MACHINE}")
    return _HERE


def program(first: int, failure: int) -> bytes:
    """The machine program that begins with the entry at the address `first`; both are below 4 GiB."""
    return b"".join((_BEGIN[0], struct.pack("<I", first), _BEGIN[1], struct.pack("<I", failure), _LOOP))


class Slot(int):
    """The address of a value that is known only once an earlier entry has been carried out, a descriptor mostly."""

    __slots__ = ()


def errors(*codes: int) -> int:
    """The bits of errors that are no failure."""
    return sum(1 << code for code in codes)


ANY = (1 << 64) - 1
MISSING = errors(errno.ENOENT)
EXISTS = errors(errno.EEXIST)


def call(
    name: str,
    *arguments: int,
    keep: int = 0,
    tolerate: int = 0,
    on_error: int = 1,
    on_success: int = 1,
    on_zero: int | None = None,
) -> bytes:
    """One entry. `arguments` are numbers, addresses or Slots; `keep` is the slot for the result; `tolerate` the bits of
    errors after which to go `on_error` entries further instead of failing. LookupError for an unknown call."""
    return _entry(numbers.number(name), arguments, keep, tolerate, on_error, on_success, on_zero)


def enter(first: int, failure: int) -> bytes:
    """Go on with another list; either address may be a Slot."""
    return _entry(ENTER, (first, failure), 0, 0, 1, 1, None)


def move(target: int, value: int, *, further: int = 1) -> bytes:
    """Write a number of 64 bits at an address."""
    return _entry(MOVE, (target, value), 0, 0, 1, further, None)


def _entry(
    number: int,
    arguments: tuple[int, ...],
    keep: int,
    tolerate: int,
    on_error: int,
    on_success: int,
    on_zero: int | None,
) -> bytes:
    indirect = 0
    for index, value in enumerate(arguments):
        if type(value) is Slot:
            indirect |= 1 << index
    values = (*[value & _WORD for value in arguments], *_NO_MORE, 0)[:6]
    zero = on_success if on_zero is None else on_zero
    return _PACKED.pack(
        number, *values, indirect, on_success * ENTRY, keep, tolerate, on_error * ENTRY, zero * ENTRY, 0
    )


class Data:
    """Bytes that a list refers to, which will be at `base` and after it. OverflowError above `limit` bytes."""

    def __init__(self, base: int, limit: int) -> None:
        self._base = base
        self._limit = limit
        self._bytes = bytearray()
        self._known: dict[bytes, int] = {}

    def text(self, value: str | bytes) -> int:
        """The address of a string that ends with a zero byte. ValueError if it has one inside."""
        data = value if isinstance(value, bytes) else os.fsencode(value)
        if b"\0" in data:
            raise ValueError("embedded null byte")
        return self.put(data + b"\0")

    def put(self, data: bytes) -> int:
        """The address of these bytes, aligned for any number; the same bytes are kept once."""
        known = self._known.get(data)
        if known is not None:
            return known
        self._bytes += b"\0" * (-len(self._bytes) % 8)
        address = self._base + len(self._bytes)
        self._bytes += data
        if len(self._bytes) > self._limit:
            raise OverflowError(f"a list of system calls refers to more than {self._limit} bytes")
        self._known[data] = address
        return address

    def texts(self, values: Iterable[str]) -> int:
        """The address of an array of strings as execve(2) takes it."""
        addresses = [self.text(value) for value in values]
        return self.put(struct.pack(f"<{len(addresses) + 1}Q", *addresses, 0))

    def content(self) -> bytes:
        return bytes(self._bytes)
