"""Device permissions of cgroup2, which has no files for them but runs an eBPF program on every open and mknod.

The program is a chain of comparisons assembled here; one loaded program serves every group with the same rules.
Instruction encoding: RFC 9669. Context: struct bpf_cgroup_dev_ctx of linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import lru_cache

from shared.kernel import syscalls
from shared.kernel.cgroups.groups import DeviceRule

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_TYPE_CGROUP_DEVICE = 15
_BPF_CGROUP_DEVICE = 6

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERYTHING = 7

# registers: 1 context, 2 type, 3 access, 4 major, 5 minor
_LOAD_WORD = 0x61
_AND = 0x57
_SHIFT_RIGHT = 0x77
_MOVE = 0xB7
_MOVE_REGISTER = 0xBF
_JUMP_EQUAL = 0x15
_JUMP_UNEQUAL = 0x55
_EXIT = 0x95


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | target, offset, value)


def program(rules: tuple[DeviceRule, ...]) -> bytes:
    """The program that returns 1 for what the last fitting rule permits, else 0.

    A rule that permits fits when it covers all of the access asked for, one that refuses when it covers any of it.
    """
    code = [
        _instruction(_LOAD_WORD, 2, 1, 0),
        _instruction(_MOVE_REGISTER, 3, 2),
        _instruction(_AND, 2, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, 3, value=16),
        _instruction(_LOAD_WORD, 4, 1, 4),
        _instruction(_LOAD_WORD, 5, 1, 8),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
    code += [_instruction(_MOVE, 0, value=0), _instruction(_EXIT)]
    return b"".join(code)


def _rule(rule: DeviceRule) -> list[bytes]:
    tests: list[tuple[int, int]] = []
    if rule.kind in _TYPES:
        tests.append((2, _TYPES[rule.kind]))
    if rule.major is not None:
        tests.append((4, rule.major))
    if rule.minor is not None:
        tests.append((5, rule.minor))
    access = sum(_ACCESS[letter] for letter in set(rule.access))
    block = [_instruction(_MOVE, 0, value=int(rule.allow)), _instruction(_EXIT)]
    if access != _EVERYTHING:
        beyond = access if not rule.allow else _EVERYTHING & ~access
        jump = _JUMP_UNEQUAL if rule.allow else _JUMP_EQUAL
        block = [
            _instruction(_MOVE_REGISTER, 0, 3),
            _instruction(_AND, 0, value=beyond),
            _instruction(jump, 0, offset=2, value=0),
            *block,
        ]
    for register, value in reversed(tests):
        block.insert(0, _instruction(_JUMP_UNEQUAL, register, offset=len(block), value=value))
    return block


@lru_cache(maxsize=8)
def _loaded(rules: tuple[DeviceRule, ...]) -> int:
    code = program(rules)
    text = ctypes.create_string_buffer(code, len(code))
    license_name = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "IIQQ", _BPF_PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(text), ctypes.addressof(license_name)
    )
    fd = syscalls.bpf(_BPF_PROG_LOAD, attributes.ljust(128, b"\0"))
    os.set_inheritable(fd, False)
    return fd


def restrict(directory: str, rules: tuple[DeviceRule, ...]) -> list[str]:
    """Attach the rules to a cgroup2 directory; a warning if this kernel has no such programs."""
    try:
        program_fd = _loaded(rules)
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = struct.pack("IIII", group, program_fd, _BPF_CGROUP_DEVICE, 0)
            syscalls.bpf(_BPF_PROG_ATTACH, attributes.ljust(128, b"\0"))
        finally:
            os.close(group)
    except OSError as exc:
        return [f"devices are not restricted: {exc.strerror}"]
    return []
