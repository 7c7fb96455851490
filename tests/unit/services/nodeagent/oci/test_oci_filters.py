"""linux.seccomp as a program, run by an interpreter of classic BPF."""

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.oci import filters
from tests.fakes.filters import AARCH64, ALLOW, I386, KILL_PROCESS, refused, run

READ, WRITE, PERSONALITY = 0, 1, 135


def build(*syscalls: dict[str, Any], **document: Any) -> bytes:
    return filters.program(
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(syscalls), **document}, machine="x86_64"
    )


def test_a_listed_call_is_permitted_and_every_other_gets_the_default_action() -> None:
    program = build({"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"})
    assert [run(program, number) for number in (READ, WRITE, 2)] == [ALLOW, ALLOW, refused(errno.EPERM)]


def test_errno_return_values_are_those_asked_for() -> None:
    program = build({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, defaultErrnoRet=13)
    assert (run(program, READ), run(program, WRITE)) == (refused(38), refused(13))


def test_names_that_no_machine_has_are_passed_over() -> None:
    program = build({"names": ["no_such_call", "read"], "action": "SCMP_ACT_ALLOW"})
    assert run(program, READ) == ALLOW


def test_each_architecture_has_its_own_numbers_and_an_unlisted_one_is_killed() -> None:
    program = build(
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}, architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    )
    assert run(program, 3, architecture=I386) == ALLOW
    assert run(program, READ, architecture=I386) == refused(errno.EPERM)
    assert run(program, 63, architecture=AARCH64) == KILL_PROCESS


def test_x32_is_unknown_unless_it_is_listed() -> None:
    rule = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
    assert run(build(rule), 0x40000000 | READ) == refused(errno.ENOSYS)
    assert run(build(rule, architectures=["SCMP_ARCH_X32"]), 0x40000000 | READ) == ALLOW


def test_of_several_rules_for_a_call_the_first_that_matches_decides() -> None:
    zero = {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}
    program = build(
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [zero]},
        {"names": ["personality"], "action": "SCMP_ACT_LOG", "args": [zero | {"value": 8}]},
    )
    assert run(program, PERSONALITY, 0) == ALLOW
    assert run(program, PERSONALITY, 8) == 0x7FFC0000
    assert run(program, PERSONALITY, 9) == refused(errno.EPERM)


def test_all_tests_of_a_rule_must_hold() -> None:
    arguments = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 7, "op": "SCMP_CMP_GT"}]
    program = build({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": arguments})
    assert run(program, READ, 1, 0, 8) == ALLOW
    assert run(program, READ, 1, 0, 7) == refused(errno.EPERM)
    assert run(program, READ, 2, 0, 8) == refused(errno.EPERM)


WORDS = st.one_of(st.integers(0, 3), st.integers(0, (1 << 64) - 1), st.sampled_from([1 << 32, (1 << 32) - 1]))


@given(st.sampled_from(filters.OPERATORS), WORDS, WORDS, WORDS)
def test_every_operator_compares_all_64_bits(operator: str, value: int, second: int, actual: int) -> None:
    argument = {"index": 3, "value": value, "valueTwo": second, "op": operator}
    program = build({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [argument]})
    expected = {
        "SCMP_CMP_NE": actual != value,
        "SCMP_CMP_LT": actual < value,
        "SCMP_CMP_LE": actual <= value,
        "SCMP_CMP_EQ": actual == value,
        "SCMP_CMP_GE": actual >= value,
        "SCMP_CMP_GT": actual > value,
        "SCMP_CMP_MASKED_EQ": actual & value == second & value,
    }[operator]
    assert (run(program, READ, 0, 0, 0, actual) == ALLOW) == expected


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "takes no errnoRet"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]}, "names is empty"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(document: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        filters.program(document, machine="x86_64")


def test_a_profile_of_all_known_calls_on_three_architectures_fits_the_kernel() -> None:
    names = sorted(filters.numbers()[1])[::2]
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert len(build({"names": names, "action": "SCMP_ACT_ALLOW"}, architectures=architectures)) <= 4096 * 8
