"""Groups of the first generation, one tree per controller, with a cgroup2 beside them where the host is hybrid.

A newborn process joins by writing "0" to `tasks`, not `cgroup.procs`: for a single thread that is itself the writer the
kernel skips the lock whose RCU grace period makes the other way take milliseconds (cgroup_procs_write_start, 5.x).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

from shared.kernel.cgroups import devices, groups
from shared.kernel.cgroups.groups import Counters, DeviceRule, GroupMount, Limits, number, read, table, write
from shared.kernel.mounts import mount_points

_USED = ("cpu", "cpuacct", "memory", "pids", "blkio")


class GroupsV1:
    """Directories of co-mounted controllers (`cpu,cpuacct`) are used once; `cpuset` only when a limit asks for it."""

    def __init__(self, subtree: str, controllers: dict[str, str], unified: str) -> None:
        self.layout = "hybrid" if unified else "v1"
        self._subtree = subtree
        self._controllers = controllers
        self._unified = unified
        used = [name for name in _USED if name in controllers]
        if not unified:  # cgroup2 does both better, without a controller
            used += [name for name in ("freezer", "devices") if name in controllers]
        self._roots = list(dict.fromkeys(controllers[name] for name in used))

    def _file(self, controller: str, path: str, name: str) -> str:
        return f"{self._controllers[controller]}{self._subtree}{path}/{name}"

    def _trees(self) -> list[str]:
        return [*self._roots, *([self._unified] if self._unified else [])]

    def create(self, path: str) -> None:
        for root in self._trees():
            groups.make_directories(root, self._subtree + path)

    def limit(self, path: str, limits: Limits) -> list[str]:
        warnings: list[str] = []

        def put(controller: str, name: str, value: int | None) -> None:
            if value is None:
                return
            if controller not in self._controllers:
                warnings.append(f"{name} is not limited: this host has no {controller} cgroup controller")
                return
            write(self._file(controller, path, name), str(value))

        put("cpu", "cpu.shares", limits.cpu_shares)
        put("cpu", "cpu.cfs_period_us", limits.cpu_period_us)
        put("cpu", "cpu.cfs_quota_us", limits.cpu_quota_us)
        put("memory", "memory.soft_limit_in_bytes", limits.memory_reservation_bytes)
        if "memory" in self._controllers and limits.memory_bytes is not None:
            self._limit_memory(path, limits.memory_bytes)
        else:
            put("memory", "memory.limit_in_bytes", limits.memory_bytes)
        if "pids" in self._controllers and limits.pids is not None:
            write(self._file("pids", path, "pids.max"), "max" if limits.pids < 0 else str(limits.pids))
        else:
            put("pids", "pids.max", limits.pids)
        if limits.cpuset_cpus:
            warnings += self._limit_cpuset(path, limits.cpuset_cpus)
        return warnings

    def _limit_memory(self, path: str, value: int) -> None:
        plain = self._file("memory", path, "memory.limit_in_bytes")
        with_swap = self._file("memory", path, "memory.memsw.limit_in_bytes")
        if not os.path.exists(with_swap):  # swapaccount=0
            write(plain, str(value))
            return
        # the kernel insists on plain <= with swap at every moment, so the order depends on the direction
        try:
            write(plain, str(value))
            write(with_swap, str(value))
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            write(with_swap, str(value))
            write(plain, str(value))

    def _limit_cpuset(self, path: str, cpus: str) -> list[str]:
        if "cpuset" not in self._controllers:
            return ["cpuset.cpus is not limited: this host has no cpuset cgroup controller"]
        root = self._controllers["cpuset"]
        for directory in groups.make_directories(root, self._subtree + path):
            parent = directory.rpartition("/")[0]
            for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, and no task may enter it so
                write(f"{directory}/{name}", read(f"{parent}/{name}").strip())
        write(f"{root}{self._subtree}{path}/cpuset.cpus", cpus)
        return []

    def absolute(self, path: str) -> str:
        return self._subtree + path

    def restrict_devices(self, path: str, allowed: Iterable[DeviceRule]) -> list[str]:
        if self._unified:
            return devices.restrict(self._unified + self._subtree + path, tuple(allowed))
        if "devices" not in self._controllers:
            return ["devices are not restricted: this host has no devices cgroup controller"]
        write(self._file("devices", path, "devices.deny"), "a")
        allow = self._file("devices", path, "devices.allow")
        for rule in allowed:
            major, minor = ("*" if part is None else part for part in (rule.major, rule.minor))
            write(allow, f"{rule.kind} {major}:{minor} {rule.access}")
        return []

    def birth_fd(self, path: str) -> int:
        if not self._unified:
            return -1
        return os.open(self._unified + self._subtree + path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def entrances(self, path: str) -> list[str]:
        files = [f"{root}{self._subtree}{path}/tasks" for root in self._roots]
        if "cpuset" in self._controllers:
            cpuset = self._file("cpuset", path, "tasks")
            if os.path.exists(cpuset):
                files.append(cpuset)
        return files

    def adopt(self, path: str, pid: int) -> None:
        for root in self._trees():
            write(f"{root}{self._subtree}{path}/cgroup.procs", str(pid))

    def sweep(self, path: str) -> None:
        others = {point.target for point in mount_points() if point.kind == "cgroup"} - set(self._trees())
        groups.remove_directories(others, self._subtree + path, parents=True)

    def _any(self, path: str) -> str:
        return (self._unified or self._roots[0]) + self._subtree + path

    def processes(self, path: str) -> list[int]:
        return groups.member_ids(self._any(path))

    def kill(self, path: str) -> None:
        directory = self._any(path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.exists(f"{directory}/cgroup.kill"):
                write(f"{directory}/cgroup.kill", "1")
                return
        groups.kill_members(directory)
        self.freeze(path, False)  # a frozen process of v1 does not die

    def freeze(self, path: str, frozen: bool) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._unified:
                write(f"{self._any(path)}/cgroup.freeze", "1" if frozen else "0")
            elif "freezer" in self._controllers:
                write(self._file("freezer", path, "freezer.state"), "FROZEN" if frozen else "THAWED")

    def freezer(self, path: str) -> str:
        raise ValueError("containers can be checkpointed only on hosts whose control groups are cgroup2 alone")

    def remove(self, path: str, *, parents: bool = False) -> bool:
        trees = self._trees()
        if "cpuset" in self._controllers:
            trees.append(self._controllers["cpuset"])
        return groups.remove_directories((root + self._subtree for root in trees), path, parents=parents)

    def remove_all(self) -> bool:
        self.kill("")
        trees = dict.fromkeys([*self._trees(), *self._controllers.values()])
        return groups.remove_directories(trees, self._subtree, parents=True)

    def oom_kills(self, path: str) -> int:
        if "memory" not in self._controllers:
            return 0
        return table(read(self._file("memory", path, "memory.oom_control"))).get("oom_kill", 0)

    def counters(self, path: str) -> Counters:
        os.stat(self._any(path))
        result = Counters()
        self._read_cpu(path, result)
        self._read_memory(path, result)
        if "pids" in self._controllers:
            result.pids = number(read(self._file("pids", path, "pids.current")))
            result.pids_limit = number(read(self._file("pids", path, "pids.max")))
        if "blkio" in self._controllers:
            size = read(self._file("blkio", path, "blkio.throttle.io_service_bytes_recursive"))
            count = read(self._file("blkio", path, "blkio.throttle.io_serviced_recursive"))
            result.read_bytes, result.write_bytes = _sum_devices(size)
            result.reads, result.writes = _sum_devices(count)
        return result

    def _read_cpu(self, path: str, result: Counters) -> None:
        if "cpuacct" in self._controllers:
            result.cpu_ns = number(read(self._file("cpuacct", path, "cpuacct.usage")))
            result.cpu_user_ns = number(read(self._file("cpuacct", path, "cpuacct.usage_user")))
            result.cpu_system_ns = number(read(self._file("cpuacct", path, "cpuacct.usage_sys")))
        if "cpu" in self._controllers:
            stat = table(read(self._file("cpu", path, "cpu.stat")))
            result.cpu_periods = stat.get("nr_periods", 0)
            result.cpu_throttled_periods = stat.get("nr_throttled", 0)
            result.cpu_throttled_ns = stat.get("throttled_time", 0)

    def _read_memory(self, path: str, result: Counters) -> None:
        if "memory" not in self._controllers:
            return

        def value(name: str) -> int:
            return number(read(self._file("memory", path, name)))

        stat = table(read(self._file("memory", path, "memory.stat")))
        result.memory_bytes = value("memory.usage_in_bytes")
        result.memory_peak_bytes = value("memory.max_usage_in_bytes")
        result.memory_limit_bytes = value("memory.limit_in_bytes")
        result.memory_failures = value("memory.failcnt")
        result.oom_kills = self.oom_kills(path)
        result.working_set_bytes = max(0, result.memory_bytes - stat.get("total_inactive_file", 0))
        result.rss_bytes = stat.get("total_rss", 0)
        result.cache_bytes = stat.get("total_cache", 0)
        result.mapped_bytes = stat.get("total_mapped_file", 0)
        result.swap_bytes = stat.get("total_swap", 0)
        result.page_faults = stat.get("total_pgfault", 0)
        result.major_page_faults = stat.get("total_pgmajfault", 0)

    def container_mounts(self) -> list[GroupMount]:
        mounts: dict[str, list[str]] = {}
        for controller, root in self._controllers.items():
            if controller in _USED:
                mounts.setdefault(root, []).append(controller)
        result = [
            GroupMount("cgroup", root.rpartition("/")[2], ",".join(names)) for root, names in sorted(mounts.items())
        ]
        if self._unified:
            result.append(GroupMount("cgroup2", self._unified.rpartition("/")[2], ""))
        return result


def _sum_devices(text: str) -> tuple[int, int]:
    read_sum = write_sum = 0
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "Read":
            read_sum += int(words[2])
        elif len(words) == 3 and words[1] == "Write":
            write_sum += int(words[2])
    return read_sum, write_sum
