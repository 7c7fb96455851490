"""A fixture that fails a test which leaves something behind in the kernel: what every other test would then run beside.

`no_leaks` compares before and after: named network namespaces, links of this network namespace, mounts, control groups,
nft tables, child processes and descriptors of this process. Whoever shares the machine with other work calls
`no_leaks.only("word")`: of what belongs to the whole machine, only names that contain the word count then.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.kernel import netns
from shared.kernel.mounts import mount_points
from tests.slowness import SLOWNESS

SETTLE_S = 5.0 * SLOWNESS  # the kernel takes links and namespaces away a moment after it was told to


def _control_groups() -> set[str]:
    roots = {point.target for point in mount_points() if point.kind in ("cgroup", "cgroup2")}
    return {directory for root in roots for directory, _names, _files in os.walk(root)}


def _nft_tables() -> set[str]:
    if os.geteuid() != 0 or shutil.which("nft") is None:
        return set()
    answer = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=False)
    if answer.returncode != 0:
        return set()
    tables = [item["table"] for item in json.loads(answer.stdout)["nftables"] if "table" in item]
    return {f"{table['family']} {table['name']}" for table in tables}


def _children() -> set[str]:
    own = str(os.getpid())
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                name, _, rest = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if rest.split()[1] == own:
                found.add(f"{entry} {name.partition('(')[2]}")
    return found


def _descriptors() -> set[str]:
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


class Leaks:
    """What there was when the test began. `only` restricts what belongs to the machine to names with a word."""

    def __init__(self) -> None:
        self._word = ""
        self._before = self._snapshot()

    def only(self, word: str) -> None:
        self._word = word

    @staticmethod
    def _snapshot() -> dict[str, set[str]]:
        return {
            "network namespace": set(netns.names()),
            "link": {name for _number, name in socket.if_nameindex()},
            "mount": {point.target for point in mount_points()},
            "control group": _control_groups(),
            "nft table": _nft_tables(),
            "child process": _children(),
            "descriptor": _descriptors(),
        }

    def left(self) -> list[str]:
        """What is there now and was not before."""
        gc.collect()
        found = []
        for kind, now in self._snapshot().items():
            fresh = now - self._before[kind]
            if kind not in ("child process", "descriptor"):
                fresh = {name for name in fresh if self._word in name}
            found += [f"{kind} {name}" for name in sorted(fresh)]
        return found

    def check(self) -> None:
        """Fail with the list, after a grace period in which it may still shrink to nothing."""
        deadline = time.monotonic() + SETTLE_S
        while left := self.left():
            if time.monotonic() > deadline:
                pytest.fail("left behind: " + "; ".join(left))
            time.sleep(0.02)


@pytest.fixture
def no_leaks() -> Iterator[Leaks]:
    """Fail the test if it leaves kernel objects, processes or descriptors behind."""
    leaks = Leaks()
    yield leaks
    leaks.check()
