"""A cluster of its own for the end-to-end tests, and real clients that talk to it from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shared.cli.supervise import running
from shared.kernel.cgroups.groups import detect
from tests.slowness import SLOWNESS

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".cache" / "tools"
EXAMPLE = ROOT / "deploy" / "examples"
WHERRY = [sys.executable, "-m", "shared.cli.main"]
# Beside a cluster that somebody already runs on this machine with the default addresses.
ADDRESSES = ["--name", "wtest", "--port", "17443", "--underlay", "10.91.0.0/24",
             "--pod-cidr", "10.245.0.0/16", "--service-cidr", "10.97.0.0/16"]  # fmt: skip

Value = TypeVar("Value")
Helm = Callable[..., str]
"""Runs helm with these arguments and returns what it prints."""

_TIMEOUT = re.compile(r"^--timeout=(\d+)s$")


def _on_this_machine(timeout: re.Match[str]) -> str:
    return f"--timeout={int(int(timeout[1]) * SLOWNESS)}s"


def wherry(
    *arguments: str, check: bool = True, timeout: float = 300, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the `wherry` command of this checkout."""
    result = subprocess.run(
        [*WHERRY, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout * SLOWNESS,
        env=os.environ | (env or {}),
    )
    if check and result.returncode != 0:
        raise AssertionError(f"wherry {' '.join(arguments)} failed:\n{result.stdout}\n{result.stderr}")
    return result


def until(probe: Callable[[], Value], what: str, limit_s: float = 60.0) -> Value:
    """Call `probe` until it returns something true, and return that; fail with `what` after the limit, which is that
    of a machine of the usual speed."""
    limit_s *= SLOWNESS
    deadline = time.monotonic() + limit_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {limit_s:.0f} s: {what} (last: {value!r})")
        time.sleep(0.1)


@dataclass
class Kubectl:
    """The real kubectl, bound to a kubeconfig and, unless it is "", a namespace."""

    kubeconfig: Path
    namespace: str = ""

    def command(self, *arguments: str) -> list[str]:
        namespace = ["-n", self.namespace] if self.namespace else []
        patient = [_TIMEOUT.sub(_on_this_machine, argument) for argument in arguments]
        return [str(TOOLS / "kubectl"), "--kubeconfig", str(self.kubeconfig), *namespace, *patient]

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout * SLOWNESS,
            env=self.environment(),
        )
        if check and result.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} failed:\n{result.stdout}\n{result.stderr}")
        return result

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run and return standard output."""
        return self.run(*arguments, stdin=stdin, timeout=timeout).stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, manifest: dict[str, Any]) -> str:
        return self("apply", "-f", "-", stdin=json.dumps(manifest))

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("get", "pods", *(["-l", selector] if selector else []))["items"]
        return found

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
        )

    @staticmethod
    def environment() -> dict[str, str]:
        return os.environ | {"HOME": "/nonexistent", "KUBECTL_KUBERC": "false"}


class TestCluster:
    """A running cluster: its processes can be found and killed by name."""

    __test__ = False

    def __init__(self, data: Path, environment: dict[str, str] | None = None) -> None:
        """`environment` is what every start of its processes is given, also those after a stop or a restore."""
        self.data = data
        self.environment = environment or {}
        self.run = Path("/run/wherry-wtest")
        self.kubectl = Kubectl(data / "kubeconfig")

    def up(self, *arguments: str) -> str:
        return wherry("up", "--data", str(self.data), *arguments, env=self.environment).stdout

    def down(self, *arguments: str) -> None:
        wherry("down", "--data", str(self.data), *arguments)

    def pid(self, process: str) -> int:
        """The pid of a process of the cluster, such as `apiserver` or `node-1.agent`; 0 while it is down."""
        status = json.loads(wherry("status", "--data", str(self.data), "-o", "json", check=False).stdout)
        return next(int(p["pid"]) for p in status["processes"] if p["name"] == process)

    def kill(self, process: str) -> None:
        """kill -9 and return at once."""
        record = json.loads((self.run / "processes" / f"{process}.json").read_text())
        os.kill(record["pid"], signal.SIGKILL)

    def wait_healthy(self) -> None:
        until(
            lambda: wherry("status", "--data", str(self.data), check=False).returncode == 0,
            "every process runs and every node is ready",
        )

    @contextmanager
    def node_down(self, node: str) -> Iterator[None]:
        """All processes of a node, its containers included, are gone during the block, as after a power loss."""
        names = [f"{node}.{part}" for part in ("agent", "keeper", "logcollector")]
        with self.withheld(names):
            detect(f"/wtest/{node}").kill("")
            yield

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """The processes are away during the block."""
        with self.withheld(list(names)):
            yield

    @contextmanager
    def withheld(self, names: list[str]) -> Iterator[None]:
        """Take processes out of the supervisor's plan, kill them, and give them back afterwards."""
        plan = self.run / "plan.json"
        whole = plan.read_text()
        pids = [self.pid(name) for name in names]
        plan.write_text(json.dumps([spec for spec in json.loads(whole) if spec["name"] not in names]))
        supervisor = self.pid("supervisor")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        os.kill(supervisor, signal.SIGHUP)
        until(lambda: not set(names) & set(running(self.run)), f"{names} to be away")
        try:
            yield
        finally:
            plan.write_text(whole)
            os.kill(supervisor, signal.SIGHUP)

    @contextmanager
    def configured(self, name: str, **environment: str) -> Iterator[None]:
        """A process runs with more variables during the block; it is killed and started again around it."""
        plan = self.run / "plan.json"
        whole = plan.read_text()
        changed = json.loads(whole)
        next(spec for spec in changed if spec["name"] == name)["env"].update(environment)
        self._restart_with(name, json.dumps(changed))
        try:
            yield
        finally:
            self._restart_with(name, whole)

    def _restart_with(self, name: str, plan: str) -> None:
        before = self.pid(name)
        (self.run / "plan.json").write_text(plan)
        os.kill(self.pid("supervisor"), signal.SIGHUP)
        os.kill(before, signal.SIGKILL)
        until(lambda: running(self.run).get(name, before) != before, f"{name} to start again")

    def in_node(self, node: str, *argv: str) -> str:
        """Run a command in a node's network namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", f"wtest-{node}", *argv], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def logs(self) -> str:
        """The end of what every process printed, for failures."""
        parts = []
        for path in sorted((self.data / "log").glob("*.log")):
            parts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}")
        return "\n".join(parts)


def deployment(
    name: str, replicas: int = 1, command: str = "exec httpd -f -p 8080 -h /srv", **container: Any
) -> dict[str, Any]:
    """A Deployment of the example's image that runs a shell command; keywords add to its container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec(command, **container)},
        },
    }


def pod(name: str, command: str, restart: str = "Always", **container: Any) -> dict[str, Any]:
    """A Pod of the example's image that runs a shell command."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": pod_spec(command, **container) | {"restartPolicy": restart},
    }


def pod_spec(command: str, **container: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "example:1", "command": ["sh", "-c", command]} | container
    return {"containers": [main], "terminationGracePeriodSeconds": 1}


def without_ages(text: str) -> str:
    """A table without what changes by the second."""
    return re.sub(r"\b\d+[smhd](\d+[smh])?\b", "AGE", text)


def leftovers() -> list[str]:
    """Kernel objects that carry the test cluster's name."""
    found = []
    for command in (
        ["ip", "netns"],
        ["ip", "-o", "link"],
        ["nft", "list", "tables"],
        ["findmnt", "-rn", "-o", "TARGET"],
    ):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found += [line for line in text.splitlines() if "wtest" in line or "wherry-e2e" in line]
    for path in Path("/sys/fs/cgroup").glob("**/wtest"):
        found.append(str(path))
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command_line.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "services." in text and "wherry-wtest" in (command_line.parent / "environ").read_bytes().decode(
            errors="replace"
        ):
            found.append(text)
    return found
