"""Capabilities and the seccomp filter, the latter run by an interpreter of classic BPF."""

import errno
import re
from pathlib import Path

import pytest

from services.nodeagent.keeper import capabilities, seccomp
from services.nodeagent.runtime.model import Capabilities
from tests.fakes.filters import AARCH64, ALLOW, I386, X86_64, refused, run


@pytest.mark.parametrize(
    ("column", "architecture", "machine"), [(1, X86_64, "x86_64"), (2, I386, "x86_64"), (3, AARCH64, "aarch64")]
)
def test_exactly_what_is_listed_and_not_lifted_by_a_capability_is_denied(
    column: int, architecture: int, machine: str
) -> None:
    program = seccomp.program(capabilities.DEFAULT, machine)
    denied = {row[column] for row in seccomp.DENIED if row[column] and capabilities.DEFAULT.isdisjoint(row[4])}
    decided_otherwise = {56, 120, 220, 435}
    for number in range(seccomp.LAST_KNOWN + 1):
        if number in decided_otherwise:
            continue
        expected = refused(errno.EPERM) if number in denied else ALLOW
        if (architecture, number) in {(X86_64, 135), (I386, 136), (AARCH64, 92)}:
            expected = ALLOW
        assert run(program, number, architecture=architecture) == expected, number


def test_calls_newer_than_the_table_are_unknown() -> None:
    program = seccomp.program(capabilities.DEFAULT, "x86_64")
    for number in (seccomp.LAST_KNOWN + 1, 1000, 0x40000000 | 1):
        assert run(program, number) == refused(errno.ENOSYS)


def test_another_architecture_is_refused_whole() -> None:
    assert run(seccomp.program(capabilities.DEFAULT, "x86_64"), 1, architecture=AARCH64) == refused(errno.ENOSYS)


def test_threads_may_be_made_but_namespaces_not() -> None:
    program = seccomp.program(capabilities.DEFAULT, "x86_64")
    assert run(program, 56, 0x3D0F00) == ALLOW
    assert run(program, 56, 0x10000000) == refused(errno.EPERM)
    assert run(program, 435) == refused(errno.ENOSYS)


def test_odd_personalities_and_vsock_are_refused() -> None:
    program = seccomp.program(capabilities.DEFAULT, "x86_64")
    assert [run(program, 135, value) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)] == [ALLOW] * 5
    assert run(program, 135, 0x0400000) == refused(errno.EPERM)
    assert run(program, 41, 2) == ALLOW
    assert run(program, 41, 40) == refused(errno.EPERM)


def test_a_capability_lifts_what_it_stands_for() -> None:
    admin = seccomp.program(capabilities.DEFAULT | {"SYS_ADMIN"}, "x86_64")
    assert run(admin, 165) == run(admin, 435) == run(admin, 56, 0x10000000) == ALLOW
    assert run(admin, 246) == refused(errno.EPERM)
    assert run(seccomp.program(frozenset({"SYS_TIME"}), "x86_64"), 227) == ALLOW


def test_an_unknown_machine_has_no_profile() -> None:
    with pytest.raises(OSError, match="no seccomp profile for sparc"):
        seccomp.program(capabilities.DEFAULT, "sparc")


@pytest.mark.parametrize(
    ("header", "column"),
    [("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 1), ("/usr/include/x86_64-linux-gnu/asm/unistd_32.h", 2)],
)
def test_the_numbers_are_those_of_the_kernels_headers(header: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    numbers = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", Path(header).read_text()))
    for row in seccomp.DENIED:
        if row[0] in numbers:
            assert row[column] == int(numbers[row[0]]), row[0]


def test_the_default_set_is_dockers() -> None:
    assert capabilities.mask(capabilities.granted(Capabilities(), privileged=False)) == 0xA80425FB


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (Capabilities(drop=["ALL"]), set()),
        (Capabilities(add=["cap_net_admin"], drop=["all"]), {"NET_ADMIN"}),
        (Capabilities(add=["NET_ADMIN"], drop=["NET_RAW"]), capabilities.DEFAULT - {"NET_RAW"} | {"NET_ADMIN"}),
        (Capabilities(add=["ALL"], drop=["MKNOD"]), set(capabilities.NAMES) - {"MKNOD"}),
        (Capabilities(add=["ALL"], drop=["ALL"]), set()),
        (Capabilities(add=["KILL"], drop=["KILL"]), capabilities.DEFAULT - {"KILL"}),
    ],
)
def test_additions_and_drops(changes: Capabilities, expected: set[str]) -> None:
    assert capabilities.granted(changes, privileged=False) == expected


def test_privileged_has_all() -> None:
    assert capabilities.mask(capabilities.granted(Capabilities(), privileged=True)) == (1 << 41) - 1


def test_an_unknown_capability_is_named() -> None:
    with pytest.raises(ValueError, match="unknown capability 'FLY'"):
        capabilities.granted(Capabilities(add=["FLY"]), privileged=False)
