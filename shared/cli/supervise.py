"""Keep the cluster's processes running: what systemd does for them on a machine of its own.

Every process is crash-only, so there is one rule: what died is started again, after a pause that doubles while it keeps
dying. The supervisor is crash-only as well: killed, it leaves its processes running, and the next one adopts them by
their recorded pid and start time. It imports the standard library alone, to cost little while it sleeps.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cli.stuck import is_stuck
from shared.kernel import netns, syscalls

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
# A process that ran this long is healthy: its next death starts again at the shortest pause.
HEALTHY_S = 30.0
# nats-server syncs and closes its files within this; whoever takes longer is killed.
STOP_GRACE_S = 10.0
LOG_LIMIT_BYTES = 16 << 20
# far longer than an API server takes to start on a small machine; without one, nodes start what they know
GATE_LIMIT_S = 120.0
GATE_INTERVAL_S = 0.05
# the longer it takes, the less often it is asked
GATE_SHARE = 0.1
DISK_INTERVAL_S = 10.0
# for service managers, which expect nothing but the number in such a file
PID_FILE = "supervisor.pid"


@dataclass
class Process:
    """A process as supervised: `pid` 0 while it is down, `due` the monotonic time of its next start, `waited` while
    those after it wait for its gate."""

    name: str
    argv: list[str]
    env: dict[str, str]
    netns: str
    gate: str
    store: str = ""
    pid: int = 0
    pidfd: int = -1
    started: float = 0.0
    waited: bool = False
    pause: float = FIRST_PAUSE_S
    due: float = 0.0


def start_time(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot (proc_pid_stat(5), field 22); None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie has exited; only its parent has not noticed yet.
    return None if fields[0] in "ZX" else int(fields[19])


def running(run: Path) -> dict[str, int]:
    """Processes that are recorded and alive: name -> pid."""
    alive = {}
    for path in sorted((run / "processes").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads(path.read_text())
            if start_time(record["pid"]) == record["start_time"]:
                alive[path.stem] = int(record["pid"])
    return alive


class Supervisor:
    """Runs the plan in `RUN/plan.json`; SIGHUP reads it again, SIGTERM stops everything in reverse order."""

    def __init__(self, run: Path, logs: Path) -> None:
        self.run_directory = run
        self.logs = logs
        self.processes: dict[str, Process] = {}
        self.selector = selectors.DefaultSelector()
        self.signals, wake = socket.socketpair()
        self.signals.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        self.selector.register(self.signals, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def main(self) -> None:
        """Supervise until SIGTERM."""
        self.record("supervisor", os.getpid())
        (self.run_directory / PID_FILE).write_text(f"{os.getpid()}\n")
        self.load_plan()
        next_log_check = next_disk_check = 0.0
        while True:
            now = time.monotonic()
            if now >= next_log_check:
                self.limit_logs()
                next_log_check = now + 60
            if now >= next_disk_check:
                self.free_stuck()
                next_disk_check = now + DISK_INTERVAL_S
            held = self.start_due(now)
            pending = [p.due for p in self.processes.values() if not p.pid and p.name not in held]
            pending += [
                now + max(GATE_INTERVAL_S, GATE_SHARE * (now - p.started)) for p in self.processes.values() if p.waited
            ]
            wait = max(0.0, min([next_log_check, next_disk_check, *pending]) - time.monotonic())
            for key, _ in self.selector.select(wait):
                if key.data is not None:
                    self.handle_exit(self.processes[key.data])
                elif self.handle_signals():
                    return

    def load_plan(self) -> None:
        """Take over `plan.json`: adopt what runs, add what is new; what left the plan is stopped."""
        specs = json.loads((self.run_directory / "plan.json").read_text())
        alive = running(self.run_directory)
        for spec in specs:
            process = self.processes.get(spec["name"])
            if process is not None:
                process.argv, process.env, process.netns = spec["argv"], spec["env"], spec["netns"]
                process.store = spec.get("store", "")
                continue
            process = self.processes[spec["name"]] = Process(**spec)
            if pid := alive.get(process.name):
                with contextlib.suppress(ProcessLookupError):
                    self.watch(process, pid)
        for name in self.processes.keys() - {spec["name"] for spec in specs}:
            self.stop([self.processes[name]])
            del self.processes[name]

    def start_due(self, now: float) -> set[str]:
        """Start what is due. Returns the names of those that have never run and are held back by a gate before them:
        they would only ask in vain and take the processor from whom they need."""
        held = set()
        closed = False
        for process in self.processes.values():
            if process.pid or process.due > now:
                pass
            elif closed and not process.started:
                held.add(process.name)
            else:
                process.waited = bool(process.gate) and not process.started
                self.start(process)
            if process.waited:
                process.waited = process.pid != 0 and now < process.started + GATE_LIMIT_S and not is_open(process.gate)
                closed = closed or process.waited
        return held

    def start(self, process: Process) -> None:
        log = self.logs / f"{process.name}.log"
        if process.store:
            # what a killed server could not remove
            for ports in Path(process.store).glob(f"{Path(process.argv[0]).name}_*.ports"):
                ports.unlink(missing_ok=True)
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    process.argv,
                    env=os.environ | process.env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=(lambda: enter_for_good(process.netns))
                    if process.netns
                    else None,  # one thread, so safe
                )
            except (OSError, subprocess.SubprocessError) as exc:
                output.write(f"wherry: cannot start {process.name}: {exc}\n".encode())
                self.postpone(process)
                return
        # The pidfd is what is waited for, Popen's own bookkeeping would only warn about a child it believes lost.
        child.returncode = 0
        self.watch(process, child.pid)
        self.record(process.name, child.pid)

    def watch(self, process: Process, pid: int) -> None:
        process.pidfd = os.pidfd_open(pid)
        process.pid = pid
        process.started = time.monotonic()
        self.selector.register(process.pidfd, selectors.EVENT_READ, process.name)

    def handle_exit(self, process: Process) -> None:
        self.selector.unregister(process.pidfd)
        os.close(process.pidfd)
        status = ""
        # An adopted process is no child of ours: nobody here can ask how it ended.
        with contextlib.suppress(ChildProcessError):
            status = f" with status {os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])}"
        with (self.logs / f"{process.name}.log").open("a") as log:
            log.write(f"wherry: {process.name} (pid {process.pid}) ended{status}\n")
        process.pid, process.pidfd = 0, -1
        self.postpone(process)

    def postpone(self, process: Process) -> None:
        now = time.monotonic()
        if process.started and now - process.started > HEALTHY_S:
            process.pause = FIRST_PAUSE_S
        process.due = now + process.pause
        process.pause = min(process.pause * 2, LONGEST_PAUSE_S)
        process.started = process.started or now

    def handle_signals(self) -> bool:
        """Act on what arrived; True after everything was stopped."""
        arrived = set(self.signals.recv(64))
        if {signal.SIGTERM, signal.SIGINT} & arrived:
            self.stop(list(self.processes.values()))
            (self.run_directory / "processes" / "supervisor.json").unlink(missing_ok=True)
            (self.run_directory / PID_FILE).unlink(missing_ok=True)
            return True
        if signal.SIGHUP in arrived:
            self.load_plan()
        return False

    def stop(self, processes: list[Process]) -> None:
        """End processes: first all at once that nobody waits for, then those that the others need, last one first."""
        leaves = [process for process in processes if not process.gate]
        needed = [process for process in reversed(processes) if process.gate]
        for wave in (leaves, *([process] for process in needed)):
            for process in wave:
                self.signal(process, signal.SIGTERM)
            for process in wave:
                self.await_end(process)
        for process in processes:
            (self.run_directory / "processes" / f"{process.name}.json").unlink(missing_ok=True)

    def signal(self, process: Process, number: int) -> None:
        if process.pid:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd, number)

    def await_end(self, process: Process) -> None:
        """Wait until the process has exited; SIGKILL ends its grace."""
        if not process.pid:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(process.pidfd, selectors.EVENT_READ)
            if not selector.select(STOP_GRACE_S):
                self.signal(process, signal.SIGKILL)
                selector.select()
        self.selector.unregister(process.pidfd)
        os.close(process.pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, 0)
        process.pid, process.pidfd = 0, -1

    def record(self, name: str, pid: int) -> None:
        """Remember a pid for `wherry status`, `wherry down` and the next supervisor."""
        path = self.run_directory / "processes" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"pid": pid, "start_time": start_time(pid)}))
        partial.replace(path)

    def free_stuck(self) -> None:
        """End a nats-server that met a full disk once there is space again; it is started like any that died."""
        for process in self.processes.values():
            program = Path(process.argv[0]).name
            if process.store and process.pid and is_stuck(Path(process.store), program, process.pid):
                with (self.logs / f"{process.name}.log").open("a") as log:
                    log.write(f"wherry: {process.name} met a full disk and is started again\n")
                self.signal(process, signal.SIGTERM)

    def limit_logs(self) -> None:
        # The writers hold the file open for appending, so it is emptied in place after its copy is made.
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LOG_LIMIT_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)


def enter_for_good(name: str) -> None:
    """Move this process into a named network namespace (setns(2))."""
    fd = os.open(netns.path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(fd, syscalls.CLONE_NEWNET)
    os.close(fd)


def is_open(address: str) -> bool:
    """Whether `host:port` accepts a connection."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def main(arguments: list[Any] | None = None) -> None:
    run, logs = arguments or sys.argv[1:]
    Supervisor(Path(run), Path(logs)).main()


if __name__ == "__main__":
    main()
