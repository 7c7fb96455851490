"""How long a container takes: `python -m tests.bench.node_start` (as root, with /bin/busybox).

Every figure is of a real keeper over its socket, with all namespaces, overlay, groups, seccomp and capabilities. The
machine's own floor is measured in the same run: a process that is forked, executes the same program and is waited for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.nodeagent.runtime.client import KeeperClient
from services.nodeagent.runtime.model import ContainerSpec, ContainerState, SandboxSpec
from shared.kernel import placement
from shared.kernel.cgroups import groups

CLUSTER = f"b{os.getpid() % 1000000}"
ROUNDS = 60
PARALLEL = 8
LOG_MIB = 64


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layer = directory / "layer"
        for name in ("bin", "dev", "etc", "proc", "sys"):  # as any image has them
            (self.layer / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.layer / "bin/busybox")
        for applet in ("true", "sh", "yes", "head", "sleep"):
            (self.layer / "bin" / applet).symlink_to("busybox")
        placement.spread(directory)  # as the agent does with where it keeps writable layers
        self.ends: dict[str, asyncio.Future[float]] = {}
        self.runtime: KeeperClient

    def on_exit(self, state: ContainerState) -> None:
        self.ends[state.id].set_result(time.perf_counter())

    async def container(self, name: str, *argv: str, log: str = "", sandbox: str = "pod") -> tuple[float, float]:
        """(seconds until its program runs, seconds until its end is known)."""
        self.ends[name] = asyncio.get_running_loop().create_future()
        spec = ContainerSpec(
            name,
            sandbox,
            name,
            list(argv),
            {"PATH": "/bin", "HOME": "/"},
            lower=[str(self.layer)],
            writable=str(self.directory / name),
            log_path=log,
        )
        begin = time.perf_counter()
        await self.runtime.start_container(spec)
        started = time.perf_counter()
        return started - begin, await self.ends[name] - begin


def fork_and_execute() -> float:
    begin = time.perf_counter()
    pid = os.posix_spawn("/bin/busybox", ["true"], {})
    os.waitpid(pid, 0)
    return time.perf_counter() - begin


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    print(f"{name:42} min {low * 1e3:7.2f}  p50 {middle * 1e3:7.2f}  p95 {high * 1e3:7.2f} ms")


async def collect(action: Callable[[int], Awaitable[float]]) -> list[float]:
    return [await action(number) for number in range(ROUNDS)]


async def measure(bench: Bench, keeper: subprocess.Popen[bytes]) -> None:
    show("spawn and wait, no container", [fork_and_execute() for _ in range(ROUNDS)])

    async def sandbox(number: int) -> float:
        begin = time.perf_counter()
        await bench.runtime.create_sandbox(
            SandboxSpec(f"s{number}", cgroup=f"/pods/s{number}", netns_name=f"{CLUSTER}-s{number}")
        )
        return time.perf_counter() - begin

    async def remove(number: int) -> float:
        begin = time.perf_counter()
        await bench.runtime.remove_sandbox(f"s{number}")
        return time.perf_counter() - begin

    show("create sandbox (net, ipc, uts)", await collect(sandbox))
    show("remove sandbox", await collect(remove))
    await bench.runtime.create_sandbox(SandboxSpec("pod", cgroup="/pods/pod", netns_name=f"{CLUSTER}-pod"))
    times = [await bench.container(f"a{number}", "/bin/true") for number in range(ROUNDS)]
    show("start container", [started for started, _ended in times])
    show("start container to its end (true)", [ended for _started, ended in times])

    async def execute(_number: int) -> float:
        begin = time.perf_counter()
        session = await bench.runtime.exec("long", ["/bin/true"])
        await session.wait()
        session.close()
        return time.perf_counter() - begin

    bench.ends["long"] = asyncio.get_running_loop().create_future()
    long = ContainerSpec(
        "long", "pod", "long", ["/bin/sleep", "1000"], lower=[str(bench.layer)], writable=str(bench.directory / "long")
    )
    await bench.runtime.start_container(long)
    show("exec true and its end", await collect(execute))
    begin = time.perf_counter()
    limit = asyncio.Semaphore(PARALLEL)

    async def limited(number: int) -> None:
        async with limit:
            await bench.container(f"p{number}", "/bin/true")
            await bench.runtime.remove_container(f"p{number}")

    async with asyncio.TaskGroup() as group:
        for number in range(ROUNDS * 2):
            group.create_task(limited(number), name=f"p{number}")
    print(f"{'start to removal, 8 in parallel':42} {ROUNDS * 2 / (time.perf_counter() - begin):7.1f} containers/s")
    script = f"yes 0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop | head -c {LOG_MIB << 20}"
    _started, ended = await bench.container("log", "/bin/sh", "-c", script, log=str(bench.directory / "logs/0.log"))
    print(f"{'output through the log':42} {LOG_MIB / ended:7.1f} MiB/s")
    for line in Path(f"/proc/{keeper.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Rss:", "Pss:")):
            print(f"{'keeper ' + line.split(':')[0]:42} {int(line.split()[1]) / 1024:7.1f} MiB")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        env = {**os.environ, "WHERRY_RUN": f"{name}/run", "WHERRY_CLUSTER": CLUSTER, "WHERRY_NODE_NAME": "n"}
        keeper = subprocess.Popen([sys.executable, "-m", "services.nodeagent.keeper"], env=env)  # noqa: ASYNC220
        bench = Bench(directory)
        try:
            bench.runtime = await KeeperClient.connect(directory / "run/nodes/n/keeper.sock")
            bench.runtime.on_exit = bench.on_exit
            try:
                await measure(bench, keeper)
            finally:
                for sandbox in (await bench.runtime.list())[0]:
                    await bench.runtime.remove_sandbox(sandbox.id)
                await bench.runtime.close()
        finally:
            keeper.terminate()
            keeper.wait()
            groups.detect(f"/{CLUSTER}/n").remove_all()


if __name__ == "__main__":
    asyncio.run(main())
