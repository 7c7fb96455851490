"""`linux.seccomp` of config.json as a classic BPF program.

The numbers of the calls are in syscalls.tsv (from asm/unistd.h of each architecture; "-": there is no such call). Of
several rules for one call the first that matches decides, as libseccomp has it. Names that an architecture does not
have are passed over: the profiles of Docker and podman name every call of every machine.
"""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_TRAP": 0x00030000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
}
OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)
_X86_64 = 0xC000003E
# name -> (architecture in seccomp_data, column of the table, bit added to every number)
_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": (_X86_64, "x86_64", 0),
    "SCMP_ARCH_X32": (_X86_64, "x86_64", 0x40000000),
    "SCMP_ARCH_X86": (0x40000003, "i386", 0),
    "SCMP_ARCH_AARCH64": (0xC00000B7, "aarch64", 0),
}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
ACTIONS = tuple(sorted(_ACTIONS))
FLAGS = tuple(_FLAGS)
ARCHITECTURES = tuple(_ARCHITECTURES)

_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_EQUAL, _GREATER, _AT_LEAST = 0x15, 0x25, 0x35
_X32_BIT = 0x40000000
_WORD = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
Code = list[Instruction]


def flags(seccomp: dict[str, Any]) -> int:
    """The flags for seccomp(2). ValueError for one that is not known here."""
    result = 0
    for name in seccomp.get("flags") or ():
        if name not in _FLAGS:
            raise ValueError(f"linux.seccomp.flags: {name!r} is not supported")
        result |= _FLAGS[name]
    return result


def program(seccomp: dict[str, Any], machine: str = "") -> bytes:
    """The filter. ValueError naming the field that cannot be honoured."""
    native = _NATIVE.get(machine or os.uname().machine)
    if native is None:
        raise ValueError(f"linux.seccomp: system calls of {machine or os.uname().machine} are not known")
    default = _action(seccomp.get("defaultAction"), seccomp.get("defaultErrnoRet"), "linux.seccomp.defaultAction")
    rules = [
        _rule(entry, f"linux.seccomp.syscalls[{index}]") for index, entry in enumerate(seccomp.get("syscalls") or ())
    ]
    wanted = dict.fromkeys([native, *(seccomp.get("architectures") or ())])
    columns, rows = numbers()
    sections: dict[int, dict[int, list[Code]]] = {}
    for name in wanted:
        if name not in _ARCHITECTURES:
            continue  # a machine that this one cannot execute
        architecture, column, bit = _ARCHITECTURES[name]
        cases, position = sections.setdefault(architecture, {}), columns.index(column)
        for names, tests, action in rules:
            if action == default:
                continue
            for call in names:
                number = rows[call][position] if call in rows else "-"
                if number != "-":
                    cases.setdefault(int(number) | bit, []).append(_case(tests, action))
    code: Code = [(_LOAD, 0, 0, 4)]
    for architecture, cases in sections.items():
        segments = _segments(cases, default)
        if architecture == _X86_64 and "SCMP_ARCH_X32" not in wanted:  # its numbers lie behind those of x86_64
            segments.append((_X32_BIT, [(_RETURN, 0, 0, _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)]))
        body = [(_LOAD, 0, 0, 0), *_search(segments)]
        code += [(_EQUAL, 1, 0, architecture), (_JUMP, 0, 0, len(body)), *body]
    code.append((_RETURN, 0, 0, _ACTIONS["SCMP_ACT_KILL_PROCESS"]))
    if len(code) > 4096:  # BPF_MAXINSNS
        raise ValueError(f"linux.seccomp: the filter has {len(code)} instructions, more than the 4096 of the kernel")
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def numbers() -> tuple[list[str], dict[str, list[str]]]:
    """The architectures of the table, and for each call its numbers in their order, "-" where there is none."""
    with open(f"{os.path.dirname(__file__)}/syscalls.tsv", encoding="ascii") as file:
        (_title, *columns), *rows = [line.split("\t") for line in file.read().splitlines()]
    return columns, {name: numbers for name, *numbers in rows}


def _action(name: Any, code: Any, where: str) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise ValueError(f"{where}: SCMP_ACT_NOTIFY is not supported")
    if name not in _ACTIONS:
        raise ValueError(f"{where}: {name!r} is no seccomp action")
    if name in _WITH_ERRNO:
        return _ACTIONS[name] | (errno.EPERM if code is None else int(code)) & 0xFFFF
    if code is not None:
        raise ValueError(f"{where}: {name} takes no errnoRet")
    return _ACTIONS[name]


def _rule(entry: dict[str, Any], where: str) -> tuple[list[str], list[Code], int]:
    """(names, tests all of which must hold, action)."""
    names = entry.get("names") or []
    if not names:
        raise ValueError(f"{where}.names is empty")
    tests = [_test(argument, f"{where}.args[{index}]") for index, argument in enumerate(entry.get("args") or ())]
    return names, tests, _action(entry.get("action"), entry.get("errnoRet"), f"{where}.action")


def _test(argument: dict[str, Any], where: str) -> Code:
    """Instructions after which the program goes on behind them, or jumps FAIL (255, patched later) instructions."""
    index, operator = argument.get("index", 0), argument.get("op")
    if not 0 <= index <= 5:
        raise ValueError(f"{where}.index: {index} is not between 0 and 5")
    if operator not in OPERATORS:
        raise ValueError(f"{where}.op: {operator!r} is no operator")
    value, second = argument.get("value", 0), argument.get("valueTwo", 0)
    low: Instruction = (_LOAD, 0, 0, 16 + 8 * index)
    high: Instruction = (_LOAD, 0, 0, 20 + 8 * index)
    if operator == "SCMP_CMP_MASKED_EQ":
        mask, wanted = value, second & value
        return [
            high,
            (_AND, 0, 0, mask >> 32 & _WORD),
            (_EQUAL, 0, 255, wanted >> 32 & _WORD),
            low,
            (_AND, 0, 0, mask & _WORD),
            (_EQUAL, 0, 255, wanted & _WORD),
        ]
    upper, lower = value >> 32 & _WORD, value & _WORD
    if operator == "SCMP_CMP_EQ":
        return [high, (_EQUAL, 0, 255, upper), low, (_EQUAL, 0, 255, lower)]
    if operator == "SCMP_CMP_NE":
        return [high, (_EQUAL, 0, 2, upper), low, (_EQUAL, 255, 0, lower)]
    compare, inverted = (
        (_GREATER if operator in ("SCMP_CMP_GT", "SCMP_CMP_LE") else _AT_LEAST),
        operator
        in (
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
        ),
    )
    if inverted:  # below the upper half decides for, above it against
        return [high, (_GREATER, 255, 0, upper), (_EQUAL, 0, 2, upper), low, (compare, 255, 0, lower)]
    return [high, (_GREATER, 3, 0, upper), (_EQUAL, 0, 255, upper), low, (compare, 0, 255, lower)]


def _case(tests: list[Code], action: int) -> Code:
    """All tests of a rule, then its action; a failed test jumps behind it."""
    code = [instruction for test in tests for instruction in test] + [(_RETURN, 0, 0, action)]
    patched = []
    for position, (operation, if_true, if_false, value) in enumerate(code):
        distance = len(code) - position - 1
        patched.append(
            (
                operation,
                distance if if_true == 255 else if_true,
                distance if if_false == 255 else if_false,
                value,
            )
        )
    return patched


def _joined(codes: list[Code], default: int) -> Code:
    """The rules of one call in order; behind one that has no test nothing is reached."""
    result: Code = []
    for code in codes:
        result += code
        if len(code) == 1:
            return result
    return [*result, (_RETURN, 0, 0, default)]


def _segments(cases: dict[int, list[Code]], default: int) -> list[tuple[int, Code]]:
    """The whole line of numbers as (first number, what to do), neighbours that do the same being one."""
    segments: list[tuple[int, Code]] = [(0, [(_RETURN, 0, 0, default)])]

    def begin(number: int, code: Code) -> None:
        if segments[-1][0] == number:
            segments.pop()
        if not segments or segments[-1][1] != code:
            segments.append((number, code))

    for number, codes in sorted(cases.items()):
        begin(number, _joined(codes, default))
        begin(number + 1, [(_RETURN, 0, 0, default)])
    return segments


def _search(segments: list[tuple[int, Code]]) -> Code:
    """A binary search for the segment of a number."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    left, right = _search(segments[:middle]), _search(segments[middle:])
    return [(_AT_LEAST, 0, 1, segments[middle][0]), (_JUMP, 0, 0, len(left)), *left, *right]
