"""The runtime behind podman, which drives it through conmon as in daily use."""

import contextlib
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.oci.conftest import eventually, make_rootfs
from tests.leaks import Leaks
from tests.slowness import LIMIT_S

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed"),
]


class Podman:
    def __init__(self, directory: Path) -> None:
        self.name = f"oci{os.urandom(4).hex()}"
        self.rootfs = directory / "rootfs"
        make_rootfs(self.rootfs)
        runtime = directory / "wherry-runtime"
        paths = os.pathsep.join(sys.path)
        runtime.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m services.nodeagent.oci "$@"\n')
        runtime.chmod(0o755)
        engine = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        (directory / "containers.conf").write_text(f"[containers]\ndefault_ulimits = []\n{engine}")
        storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'
        (directory / "storage.conf").write_text(storage)
        self.directory = directory  # conmon leaves a file `oom` in its working directory when memory runs out
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }
        self.hooks = directory / "hooks"
        self.hooks.mkdir()
        places = ("--tmpdir", str(directory / "tmp"), "--hooks-dir", str(self.hooks))
        self._command = ["podman", "--runtime", str(runtime), *places]

    def command(self, *words: str) -> list[str]:
        return [*self._command, *words]

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=stdin,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    def words(self, *words: str) -> list[str]:
        """Those of `run`, from the options, "--" and the command."""
        place = words.index("--")
        fixed = ("--network", "none", "--name", self.name, "--rootfs", str(self.rootfs))
        return ["run", *words[:place], *fixed, *words[place + 1 :]]

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self(*self.words(*words), stdin=stdin)

    def inspect(self, template: str) -> str:
        return self("inspect", "--format", template, self.name).stdout.strip()

    def on_terminal(self, *words: str, keys: bytes = b"") -> tuple[int, bytes]:
        """Run podman on a terminal of 40 rows and 120 columns, type `keys`; return exit code and what was shown."""
        master, slave = pty.openpty()
        try:
            termios.tcsetwinsize(slave, (40, 120))
            process = subprocess.Popen(
                self.command(*words),
                cwd=self.directory,
                env=self.environment,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)
        shown = b""
        try:
            os.write(master, keys)
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
                while select.select([master], [], [], LIMIT_S)[0] and (more := os.read(master, 65536)):
                    shown += more
            return process.wait(LIMIT_S), shown
        finally:
            os.close(master)
            process.kill()
            process.wait()


@pytest.fixture
def podman(no_leaks: Leaks) -> Iterator[Podman]:
    with tempfile.TemporaryDirectory(prefix="oci-") as directory:  # short: conmon's sockets are below it (unix(7))
        made = Podman(Path(directory))
        no_leaks.only(made.name)
        probe = made("info")
        if probe.returncode:
            pytest.skip(f"podman does not work here: {probe.stderr.strip()}")
        try:
            yield made
        finally:
            made("rm", "--force", "--time", "0", made.name)


def test_a_container_runs_and_its_exit_code_comes_back(podman: Podman) -> None:
    done = podman.run("--rm", "--hostname", "boat", "--", "sh", "-c", "hostname; exit 7")
    assert (done.returncode, done.stdout) == (7, "boat\n"), done.stderr


def test_a_missing_program_is_told_as_podman_tells_it(podman: Podman) -> None:
    assert podman.run("--rm", "--", "nosuch").returncode == 127


def test_exec_pause_and_stop(podman: Podman) -> None:
    started = podman.run("--detach", "--", "sleep", "1000")
    assert started.returncode == 0, started.stderr
    assert podman("exec", "--user", "5", podman.name, "id", "-u").stdout == "5\n"
    assert podman("exec", podman.name, "nosuch").returncode == 127
    assert podman("pause", podman.name).returncode == 0
    assert podman("unpause", podman.name).returncode == 0
    assert podman("stop", "--time", "0", podman.name).returncode == 0
    assert podman("rm", podman.name).returncode == 0


def test_limits_and_the_default_seccomp_profile_are_taken(podman: Podman) -> None:
    script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status"
    done = podman.run("--rm", "--memory", "64m", "--pids-limit", "20", "--", "sh", "-c", script)
    assert done.stdout.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"], done.stderr


def test_user_namespaces_read_only_roots_and_tmpfs(podman: Podman) -> None:
    options = ("--rm", "--uidmap", "0:100000:1000", "--read-only", "--tmpfs", "/scratch")
    done = podman.run(*options, "--", "sh", "-c", "id -u; touch /scratch/a && echo written; touch /b")
    assert done.stdout.split() == ["0", "written"], done.stderr
    assert "ead-only" in done.stderr


def test_input_reaches_the_program(podman: Podman) -> None:
    done = podman.run("--rm", "--interactive", "--", "sh", "-c", "read x; echo got $x", stdin="this\n")
    assert (done.returncode, done.stdout) == (0, "got this\n"), done.stderr


def test_a_terminal_has_the_size_of_the_caller_s_and_passes_keys(podman: Podman) -> None:
    script = "until [ \"$(stty size)\" = '40 120' ]; do sleep 0.02; done; tty; read x; echo got $x; exit 5"
    code, shown = podman.on_terminal(*podman.words("--rm", "-it", "--", "sh", "-c", script), keys=b"this\n")
    assert code == 5, shown
    assert b"/dev/pts/0" in shown
    assert b"got this" in shown


READY = "trap 'echo bye; exit 4' TERM; trap 'echo hup' HUP; echo ready; echo trouble >&2; while :; do sleep 0.05; done"


@pytest.fixture
def ready(podman: Podman) -> Podman:
    """A running container that has set up its signals."""
    started = podman.run("--detach", "--memory", "64m", "--", "sh", "-c", READY)
    assert started.returncode == 0, started.stderr
    eventually(lambda: "ready" in podman("logs", podman.name).stdout, "the first line")
    return podman


def test_exec_has_a_terminal_an_environment_a_directory_and_an_exit_code(ready: Podman) -> None:
    options = ("--user", "1000:1000", "--env", "A=b", "--workdir", "/tmp")
    done = ready("exec", *options, ready.name, "sh", "-c", "id -u; echo $A; pwd; exit 3")
    assert (done.returncode, done.stdout) == (3, "1000\nb\n/tmp\n"), done.stderr
    assert ready("exec", "-i", ready.name, "cat", stdin="through").stdout == "through"
    code, shown = ready.on_terminal("exec", "-it", ready.name, "sh", "-c", "tty; exit 6")
    assert (code, b"/dev/pts/" in shown) == (6, True), shown


def test_logs_hold_both_streams_and_stop_leaves_time_to_end(ready: Podman) -> None:
    assert ready("stop", "--time", "10", ready.name).returncode == 0
    logs = ready("logs", ready.name)
    assert (logs.stdout, logs.stderr) == ("ready\nbye\n", "trouble\n")
    assert ready.inspect("{{.State.Status}} {{.State.ExitCode}}") == "exited 4"


def test_kill_sends_the_signal_that_is_asked_for(ready: Podman) -> None:
    assert ready("kill", "--signal", "HUP", ready.name).returncode == 0
    eventually(lambda: "hup" in ready("logs", ready.name).stdout, "the answer to SIGHUP")
    assert ready("kill", ready.name).returncode == 0
    eventually(lambda: ready.inspect("{{.State.Status}} {{.State.ExitCode}}") == "exited 137", "its end")


def test_a_paused_container_says_so_and_goes_on(ready: Podman) -> None:
    assert ready("pause", ready.name).returncode == 0
    assert ready.inspect("{{.State.Status}}") == "paused"
    assert ready("unpause", ready.name).returncode == 0
    assert ready.inspect("{{.State.Status}}") == "running"
    assert ready("exec", ready.name, "true").returncode == 0


def test_top_and_a_restart(ready: Podman) -> None:
    assert "sh" in ready("top", ready.name, "comm").stdout
    first = ready.inspect("{{.State.Pid}}")
    assert ready("restart", "--time", "0", ready.name).returncode == 0
    assert ready.inspect("{{.State.Pid}}") != first
    assert ready.inspect("{{.State.Status}}") == "running"


@pytest.mark.parametrize(("size", "code"), [("1m", 0), ("200m", 137)])
def test_a_program_ends_when_it_wants_more_memory_than_it_may_have(podman: Podman, size: str, code: int) -> None:
    script = f"head -c {size} /dev/zero > /tmp/zeros; exec tail -c {size} /tmp/zeros > /dev/null"
    limits = ("--memory", "16m", "--memory-swap", "16m", "--tmpfs", "/tmp")
    done = podman.run("--rm", *limits, "--", "sh", "-c", script)
    assert done.returncode == code, done.stderr


def test_hooks_of_a_directory_run_at_their_stages_with_the_state(podman: Podman) -> None:
    stages = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    seen = podman.hooks / "seen"
    for stage in stages:
        script = f"echo {stage} $(cat) >> {seen}"
        hook = {"version": "1.0.0", "hook": {"path": "/bin/sh", "args": ["sh", "-c", script]}}
        document = hook | {"when": {"always": True}, "stages": [stage]}
        (podman.hooks / f"{stage}.json").write_text(json.dumps(document))
    done = podman.run("--", "true")
    assert done.returncode == 0, done.stderr
    assert podman("rm", podman.name).returncode == 0
    told = [line.split(" ", 1) for line in seen.read_text().splitlines()]
    assert [stage for stage, _ in told] == stages
    states = [json.loads(state) for _, state in told]
    assert len({state["id"] for state in states}) == 1
    assert [state["status"] for state in states] == ["created", "creating", "creating", "running", "stopped"]
