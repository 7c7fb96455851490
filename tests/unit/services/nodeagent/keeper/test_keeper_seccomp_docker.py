"""The default filter against Docker's: every call of every architecture, without and with each capability."""

import itertools
from pathlib import Path

import pytest

from services.nodeagent.keeper import capabilities, seccomp
from tests.fakes.filters import AARCH64, ALLOW, I386, X86_64, run

NUMBERS = Path(seccomp.__file__).parents[1] / "oci/syscalls.tsv"
DOCKERS = Path(__file__).with_name("docker_seccomp.txt")
BY_ARGUMENT = {"clone", "clone3", "personality", "socket"}

# What we permit and Docker does not mention. Docker allows by name, so that whatever nobody asked for is refused.
MORE_THAN_DOCKER = {
    # Never written or long removed: the kernel has no code behind the number and answers ENOSYS by itself.
    *("afs_syscall", "bdflush", "break", "ftime", "getpmsg", "gtty", "idle", "lock", "mpx", "prof", "profil"),
    *("putpmsg", "security", "stty", "tuxcall", "ulimit", "vserver"),
    # First forms of calls whose later forms both permit (i386 alone): old programs need them, they can do no more.
    *("nice", "oldfstat", "oldlstat", "oldolduname", "oldstat", "olduname", "readdir", "sgetmask", "sigaction"),
    *("signal", "sigpending", "sigsuspend", "ssetmask"),
}

# What Docker permits, possibly under a capability, and we refuse: nothing.
LESS_THAN_DOCKER: set[str] = set()


def dockers() -> dict[str, set[str]]:
    """Call -> the capabilities any of which Docker demands; {"-"} for none."""
    permitted: dict[str, set[str]] = {}
    for line in DOCKERS.read_text().splitlines():
        if not line.startswith("#"):
            needed, _, names = line.partition(": ")
            permitted |= {key: set(needed.split(",")) for key in names.split()}
    return permitted


@pytest.mark.parametrize(
    ("column", "architecture", "machine"), [(1, X86_64, "x86_64"), (2, I386, "x86_64"), (3, AARCH64, "aarch64")]
)
def test_the_filter_differs_from_dockers_only_where_a_reason_is_given(
    column: int, architecture: int, machine: str
) -> None:
    docker = dockers()
    rows = [line.split("\t") for line in NUMBERS.read_text().splitlines()[1:]]
    calls = {row[0]: int(row[column]) for row in rows if row[column] != "-" and row[0] not in BY_ARGUMENT}
    known = {name: number for name, number in calls.items() if number <= seccomp.LAST_KNOWN}
    more, less = set(), set()
    for capability, (name, number) in itertools.product(("-", *capabilities.NAMES), known.items()):
        ours = run(seccomp.program(frozenset({capability}), machine), number, architecture=architecture) == ALLOW
        theirs = not docker.get(name, set()).isdisjoint({"-", capability})
        if ours != theirs:
            (more if ours else less).add(name)
    assert more == MORE_THAN_DOCKER & known.keys()
    assert less == LESS_THAN_DOCKER & known.keys()


def test_the_families_of_sockets_are_dockers() -> None:
    program = seccomp.program(capabilities.DEFAULT, "x86_64")
    refused = [family for family in range(64) if run(program, 41, family) != ALLOW]
    assert refused == [38, 40]  # AF_ALG, AF_VSOCK


def test_other_runtimes_are_given_the_same_families() -> None:
    rules = seccomp.profile(capabilities.DEFAULT)["syscalls"]
    assert [rule["args"][0]["value"] for rule in rules if rule["names"] == ["socket"]] == [38, 40]
