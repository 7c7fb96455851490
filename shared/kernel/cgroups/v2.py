"""Groups of the second generation: one tree, controllers handed down through `cgroup.subtree_control`.

Only leaves hold processes here, as the kernel demands of groups that hand controllers down ("no internal processes").
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from shared.kernel.cgroups import devices, groups
from shared.kernel.cgroups.groups import Counters, DeviceRule, GroupMount, Limits, number, read, table, write

_WANTED = ("cpu", "cpuset", "io", "memory", "pids")


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1..10000) for cpu.shares (2..262144), as Kubernetes maps them (KEP-2254)."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


class GroupsV2:
    def __init__(self, subtree: str, root: str) -> None:
        self.layout = "v2"
        self._root = root
        self._subtree = subtree

    def _directory(self, path: str) -> str:
        return self._root + self._subtree + path

    def _file(self, path: str, name: str) -> str:
        return f"{self._root}{self._subtree}{path}/{name}"

    def create(self, path: str) -> None:
        for directory in groups.make_directories(self._root, self._subtree + path):
            self._hand_down(directory.rpartition("/")[0])

    def _hand_down(self, directory: str) -> None:
        available = set(read(f"{directory}/cgroup.controllers").split())
        enabled = set(read(f"{directory}/cgroup.subtree_control").split())
        missing = [f"+{name}" for name in _WANTED if name in available and name not in enabled]
        if missing:
            write(f"{directory}/cgroup.subtree_control", " ".join(missing))

    def limit(self, path: str, limits: Limits) -> list[str]:
        warnings: list[str] = []

        def put(name: str, value: str, *, optional: bool = False) -> None:
            file = self._file(path, name)
            if os.path.exists(file):
                write(file, value)
            elif not optional:
                controller = name.partition(".")[0]
                warnings.append(f"{name} is not limited: this host has no {controller} cgroup controller")

        if limits.cpu_shares is not None:
            put("cpu.weight", str(weight_of_shares(limits.cpu_shares)))
        if limits.cpu_quota_us is not None:
            quota = "max" if limits.cpu_quota_us < 0 else str(limits.cpu_quota_us)
            put("cpu.max", f"{quota} {limits.cpu_period_us or 100000}")
        if limits.memory_reservation_bytes is not None:
            put("memory.low", str(max(limits.memory_reservation_bytes, 0)))
        if limits.memory_bytes is not None:
            put("memory.max", "max" if limits.memory_bytes < 0 else str(limits.memory_bytes))
            put("memory.swap.max", "max" if limits.memory_bytes < 0 else "0", optional=True)
        if limits.oom_group is not None:
            put("memory.oom.group", str(int(limits.oom_group)), optional=True)
        if limits.pids is not None:
            put("pids.max", "max" if limits.pids < 0 else str(limits.pids))
        if limits.cpuset_cpus:
            put("cpuset.cpus", limits.cpuset_cpus)
        return warnings

    def absolute(self, path: str) -> str:
        return self._subtree + path

    def restrict_devices(self, path: str, allowed: Iterable[DeviceRule]) -> list[str]:
        return devices.restrict(self._directory(path), tuple(allowed))

    def birth_fd(self, path: str) -> int:
        return os.open(self._directory(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def entrances(self, path: str) -> list[str]:
        return []

    def adopt(self, path: str, pid: int) -> None:
        write(self._file(path, "cgroup.procs"), str(pid))

    def sweep(self, path: str) -> None:
        return  # there is one tree only

    def processes(self, path: str) -> list[int]:
        return groups.member_ids(self._directory(path))

    def kill(self, path: str) -> None:
        file = self._file(path, "cgroup.kill")
        with contextlib.suppress(FileNotFoundError):
            if os.path.exists(file):
                write(file, "1")
                return
        groups.kill_members(self._directory(path))

    def freeze(self, path: str, frozen: bool) -> None:
        with contextlib.suppress(FileNotFoundError):
            write(self._file(path, "cgroup.freeze"), "1" if frozen else "0")

    def freezer(self, path: str) -> str:
        return self._directory(path)

    def remove(self, path: str, *, parents: bool = False) -> bool:
        return groups.remove_directories([self._root + self._subtree], path, parents=parents)

    def remove_all(self) -> bool:
        self.kill("")
        return groups.remove_directories([self._root], self._subtree, parents=True)

    def oom_kills(self, path: str) -> int:
        return table(read(self._file(path, "memory.events"))).get("oom_kill", 0)

    def counters(self, path: str) -> Counters:
        os.stat(self._directory(path))
        cpu = table(read(self._file(path, "cpu.stat")))
        stat = table(read(self._file(path, "memory.stat")))
        events = table(read(self._file(path, "memory.events")))
        usage = number(read(self._file(path, "memory.current")))
        result = Counters(
            cpu_ns=cpu.get("usage_usec", 0) * 1000,
            cpu_user_ns=cpu.get("user_usec", 0) * 1000,
            cpu_system_ns=cpu.get("system_usec", 0) * 1000,
            cpu_periods=cpu.get("nr_periods", 0),
            cpu_throttled_periods=cpu.get("nr_throttled", 0),
            cpu_throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            memory_bytes=usage,
            memory_limit_bytes=number(read(self._file(path, "memory.max"))),
            memory_peak_bytes=number(read(self._file(path, "memory.peak"))),
            working_set_bytes=max(0, usage - stat.get("inactive_file", 0)),
            rss_bytes=stat.get("anon", 0),
            cache_bytes=stat.get("file", 0),
            mapped_bytes=stat.get("file_mapped", 0),
            swap_bytes=number(read(self._file(path, "memory.swap.current"))),
            page_faults=stat.get("pgfault", 0),
            major_page_faults=stat.get("pgmajfault", 0),
            memory_failures=events.get("max", 0),
            oom_kills=events.get("oom_kill", 0),
            pids=number(read(self._file(path, "pids.current"))),
            pids_limit=number(read(self._file(path, "pids.max"))),
        )
        for name in ("cpu", "memory", "io"):
            waiting, stalled = _pressure(read(self._file(path, f"{name}.pressure")))
            setattr(result, f"{name}_waiting_ns", waiting)
            setattr(result, f"{name}_stalled_ns", stalled)
        for line in read(self._file(path, "io.stat")).splitlines():
            values = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
            result.read_bytes += int(values.get("rbytes", 0))
            result.write_bytes += int(values.get("wbytes", 0))
            result.reads += int(values.get("rios", 0))
            result.writes += int(values.get("wios", 0))
        return result

    def container_mounts(self) -> list[GroupMount]:
        return [GroupMount("cgroup2", "", "")]


def _pressure(text: str) -> tuple[int, int]:
    """Nanoseconds in which some tasks, and all tasks, waited; of a `*.pressure` file (kernel's accounting/psi.rst)."""
    totals = {"some": 0, "full": 0}
    for line in text.splitlines():
        kind, *values = line.split()
        for value in values:
            if value.startswith("total="):
                totals[kind] = int(value[6:]) * 1000
    return totals["some"], totals["full"]
