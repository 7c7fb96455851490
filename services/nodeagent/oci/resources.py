"""`linux.resources` of config.json as a list of values to write into files of control groups: the decision alone.

One function for each generation of control groups. What cannot be expressed in the one that the host has is a
ValueError naming the field, as the runtime specification demands; kernel memory, which it recommends against and
kernels no longer have, is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.kernel.cgroups.groups import DeviceRule
from shared.kernel.cgroups.v2 import weight_of_shares
from shared.records import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@frozen
class Setting:
    """`value` for the first of `files` (names in the group of `controller`) that exists; `field` is what asked.

    `otherwise` is what a host gets that has none of them.
    """

    controller: str
    files: tuple[str, ...]
    value: str
    field: str
    optional: bool = False
    otherwise: Setting | None = None


_V1_CPU = (
    ("shares", "cpu", "cpu.shares"),
    ("period", "cpu", "cpu.cfs_period_us"),
    ("quota", "cpu", "cpu.cfs_quota_us"),
    ("burst", "cpu", "cpu.cfs_burst_us"),
    ("realtimePeriod", "cpu", "cpu.rt_period_us"),
    ("realtimeRuntime", "cpu", "cpu.rt_runtime_us"),
    ("idle", "cpu", "cpu.idle"),
    ("cpus", "cpuset", "cpuset.cpus"),
    ("mems", "cpuset", "cpuset.mems"),
)
_V1_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)
_EVERYTHING = "rwm"
_KINDS = {"a": "a", "b": "b", "c": "c", "u": "c", "p": "c"}


def _device(entry: dict[str, Any]) -> str:
    return f"{entry['major']}:{entry['minor']}"


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def settings_v1(resources: dict[str, Any]) -> list[Setting]:
    """What to write into groups of the first generation, in order."""
    return [*_cpu_v1(resources), *_memory_v1(resources), *_block_v1(resources), *_rest_v1(resources)]


def _cpu_v1(resources: dict[str, Any]) -> Iterator[Setting]:
    cpu = resources.get("cpu") or {}
    for name, controller, file in _V1_CPU:
        value = cpu.get(name)
        if value not in (None, "") and not (name in ("shares", "period", "quota") and value == 0):
            yield Setting(controller, (file,), str(value), f"cpu.{name}")


def _memory_v1(resources: dict[str, Any]) -> Iterator[Setting]:
    memory = resources.get("memory") or {}
    for name, file, optional in (
        ("limit", "memory.limit_in_bytes", False),
        ("swap", "memory.memsw.limit_in_bytes", False),
        ("reservation", "memory.soft_limit_in_bytes", False),
        ("kernel", "memory.kmem.limit_in_bytes", True),
        ("kernelTCP", "memory.kmem.tcp.limit_in_bytes", True),
        ("swappiness", "memory.swappiness", False),
    ):
        value = memory.get(name)
        if value is not None and not (name != "swappiness" and value == 0):
            yield Setting("memory", (file,), str(value), f"memory.{name}", optional)
    if memory.get("disableOOMKiller"):
        yield Setting("memory", ("memory.oom_control",), "1", "memory.disableOOMKiller")


def _block_v1(resources: dict[str, Any]) -> Iterator[Setting]:
    block = resources.get("blockIO") or {}
    if block.get("weight"):
        files = ("blkio.weight", "blkio.bfq.weight")
        yield Setting("blkio", files, str(block["weight"]), "blockIO.weight")
    if block.get("leafWeight"):
        yield Setting("blkio", ("blkio.leaf_weight",), str(block["leafWeight"]), "blockIO.leafWeight")
    for entry in block.get("weightDevice") or ():
        for name, file in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if entry.get(name):
                files = (f"blkio.{file}", f"blkio.bfq.{file}")
                yield Setting("blkio", files, f"{_device(entry)} {entry[name]}", f"blockIO.weightDevice.{name}")
    for name, file, _key in _V1_THROTTLES:
        for entry in block.get(name) or ():
            yield Setting("blkio", (file,), f"{_device(entry)} {entry['rate']}", f"blockIO.{name}")


def _rest_v1(resources: dict[str, Any]) -> Iterator[Setting]:
    pids = (resources.get("pids") or {}).get("limit")
    if pids is not None:
        yield Setting("pids", ("pids.max",), _limit(pids), "pids.limit")
    for entry in resources.get("hugepageLimits") or ():
        size = entry["pageSize"]
        yield Setting("hugetlb", (f"hugetlb.{size}.limit_in_bytes",), str(entry["limit"]), "hugepageLimits")
        reserved = (f"hugetlb.{size}.rsvd.limit_in_bytes",)
        yield Setting("hugetlb", reserved, str(entry["limit"]), "hugepageLimits", optional=True)
    network = resources.get("network") or {}
    if network.get("classID") is not None:
        yield Setting("net_cls", ("net_cls.classid",), str(network["classID"]), "network.classID")
    for entry in network.get("priorities") or ():
        value = f"{entry['name']} {entry['priority']}"
        yield Setting("net_prio", ("net_prio.ifpriomap",), value, "network.priorities")
    yield from _rdma(resources)


def _rdma(resources: dict[str, Any]) -> Iterator[Setting]:
    for device, entry in (resources.get("rdma") or {}).items():
        words = [device]
        for name, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if entry.get(name) is not None:
                words.append(f"{key}={entry[name]}")
        yield Setting("rdma", ("rdma.max",), " ".join(words), "rdma")


def settings_v2(resources: dict[str, Any]) -> list[Setting]:
    """What to write into groups of the second generation. ValueError for what has no counterpart there."""
    return [*_cpu_v2(resources), *_memory_v2(resources), *_block_v2(resources), *_rest_v2(resources)]


def _cpu_v2(resources: dict[str, Any]) -> Iterator[Setting]:
    cpu = resources.get("cpu") or {}
    for name in ("realtimePeriod", "realtimeRuntime"):
        if cpu.get(name):
            raise ValueError(f"linux.resources.cpu.{name} does not exist in cgroup v2")
    if cpu.get("shares"):
        yield Setting("cpu", ("cpu.weight",), str(weight_of_shares(cpu["shares"])), "cpu.shares")
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        text = "max" if not quota or quota < 0 else str(quota)
        yield Setting("cpu", ("cpu.max",), f"{text} {period or 100000}", "cpu.quota")
    for name, controller, file in (
        ("burst", "cpu", "cpu.max.burst"),
        ("idle", "cpu", "cpu.idle"),
        ("cpus", "cpuset", "cpuset.cpus"),
        ("mems", "cpuset", "cpuset.mems"),
    ):
        if cpu.get(name) not in (None, ""):
            yield Setting(controller, (file,), str(cpu[name]), f"cpu.{name}")


def _memory_v2(resources: dict[str, Any]) -> Iterator[Setting]:
    memory = resources.get("memory") or {}
    for name in ("swappiness", "disableOOMKiller"):
        if memory.get(name):
            raise ValueError(f"linux.resources.memory.{name} does not exist in cgroup v2")
    limit, swap = memory.get("limit") or None, memory.get("swap") or None
    if limit is not None:
        yield Setting("memory", ("memory.max",), _limit(limit), "memory.limit")
    if swap is not None:
        if swap > 0 and (limit is None or limit < 0 or swap < limit):
            raise ValueError(f"linux.resources.memory.swap: {swap} is the sum of memory and swap, hence below no limit")
        alone = -1 if swap < 0 or limit is None else swap - limit
        yield Setting("memory", ("memory.swap.max",), _limit(alone), "memory.swap", optional=alone <= 0)
    if memory.get("reservation"):
        yield Setting("memory", ("memory.low",), _limit(memory["reservation"]), "memory.reservation")


def _block_v2(resources: dict[str, Any]) -> Iterator[Setting]:
    block = resources.get("blockIO") or {}
    if block.get("leafWeight"):
        raise ValueError("linux.resources.blockIO.leafWeight does not exist in cgroup v2")
    if block.get("weight"):
        yield _weight("", block["weight"], "blockIO.weight")
    for entry in block.get("weightDevice") or ():
        if entry.get("leafWeight"):
            raise ValueError("linux.resources.blockIO.weightDevice.leafWeight does not exist in cgroup v2")
        if entry.get("weight"):
            yield _weight(f"{_device(entry)} ", entry["weight"], "blockIO.weightDevice.weight")
    for name, _file, key in _V1_THROTTLES:
        for entry in block.get(name) or ():
            rate = entry["rate"] or "max"
            yield Setting("io", ("io.max",), f"{_device(entry)} {key}={rate}", f"blockIO.{name}")


def _weight(device: str, weight: int, field: str) -> Setting:
    """A weight of 10 to 1000, which is also the scale of the scheduler BFQ; that of io.weight is 1 to 10000."""
    scaled = 1 + (weight - 10) * 9999 // 990
    return Setting(
        "io",
        ("io.bfq.weight",),
        f"{device}{weight}",
        field,
        otherwise=Setting("io", ("io.weight",), f"{device or 'default '}{scaled}", field),
    )


def _rest_v2(resources: dict[str, Any]) -> Iterator[Setting]:
    if resources.get("network"):
        raise ValueError("linux.resources.network does not exist in cgroup v2")
    pids = (resources.get("pids") or {}).get("limit")
    if pids is not None:
        yield Setting("pids", ("pids.max",), _limit(pids), "pids.limit")
    for entry in resources.get("hugepageLimits") or ():
        size, limit = entry["pageSize"], str(entry["limit"])
        yield Setting("hugetlb", (f"hugetlb.{size}.max",), limit, "hugepageLimits")
        yield Setting("hugetlb", (f"hugetlb.{size}.rsvd.max",), limit, "hugepageLimits", optional=True)
    yield from _rdma(resources)
    for file, value in (resources.get("unified") or {}).items():
        if "/" in file:
            raise ValueError(f"linux.resources.unified: {file!r} is not the name of a file")
        for line in str(value).splitlines() or [""]:
            yield Setting(file.partition(".")[0], (file,), line, f"unified[{file}]")


def device_rules(resources: dict[str, Any]) -> list[DeviceRule]:
    """`devices` as rules in the listed order."""
    rules = []
    for index, entry in enumerate(resources.get("devices") or ()):
        where = f"linux.resources.devices[{index}]"
        kind = entry.get("type") or "a"
        access = entry.get("access") or _EVERYTHING
        if kind not in _KINDS:
            raise ValueError(f"{where}.type: {kind!r} is not a, b or c")
        if not set(access) <= set(_EVERYTHING):
            raise ValueError(f"{where}.access: {access!r} is not made of r, w and m")
        major, minor = entry.get("major"), entry.get("minor")
        rules.append(
            DeviceRule(
                _KINDS[kind],
                None if major is None or major < 0 else major,
                None if minor is None or minor < 0 else minor,
                access,
                bool(entry.get("allow")),
            )
        )
    return rules
