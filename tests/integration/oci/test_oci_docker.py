"""The runtime behind Docker: `docker run --runtime wherry`, with a daemon of one's own."""

import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import docker as dockers
from tests.docker import Docker
from tests.integration.oci.conftest import eventually, make_rootfs

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not dockers.installed(), reason="docker.io is not installed (tests/tools installs it)"),
]

RUN = ("run", "--runtime", "wherry", "--network", "none")


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with tempfile.TemporaryDirectory(prefix="dk-", dir="/var/tmp") as name:  # overlay2 wants no overlay below it
        directory = Path(name)
        make_rootfs(directory / "rootfs")
        runtime = directory / "wherry-runtime"
        paths = os.pathsep.join(sys.path)
        runtime.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m services.nodeagent.oci "$@"\n')
        runtime.chmod(0o755)
        try:
            with dockers.daemon(directory, {"wherry": str(runtime)}) as made:
                made.load(directory / "rootfs", "image")
                yield made
        except RuntimeError as exc:
            pytest.skip(str(exc))


@pytest.fixture
def sleeping(docker: Docker) -> Iterator[str]:
    """The name of a running container."""
    name = f"c{os.urandom(3).hex()}"
    script = "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done"
    started = docker(*RUN, "--detach", "--name", name, "--memory", "64m", "image", "sh", "-c", script)
    assert started.returncode == 0, started.stderr
    yield name
    docker("rm", "--force", name)


def test_output_streams_and_exit_code_come_back(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "image", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_input_and_a_terminal(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "--interactive", "image", "sh", "-c", "read x; echo got $x", input=b"this\n")
    assert (done.returncode, done.stdout) == (0, "got this\n")
    master, slave = pty.openpty()
    words = docker.command(*RUN, "--rm", "-it", "image", "sh", "-c", "tty; exit 5")
    process = subprocess.Popen(words, env=docker.environment, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    assert process.wait(60) == 5
    assert b"/dev/" in os.read(master, 65536)
    os.close(master)


def test_a_missing_program_is_told_as_docker_tells_it(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "image", "nosuch")
    assert done.returncode == 127
    assert "executable file not found" in done.stderr


def test_a_process_can_be_added(docker: Docker, sleeping: str) -> None:
    done = docker("exec", "--user", "1000", "--env", "A=b", sleeping, "sh", "-c", "id -u; echo $A; exit 3")
    assert (done.returncode, done.stdout) == (3, "1000\nb\n")


def test_logs_stop_and_exit_code(docker: Docker, sleeping: str) -> None:
    eventually(lambda: "ready" in docker("logs", sleeping).stdout, "the first line")
    assert docker("stop", "--time", "10", sleeping).returncode == 0
    assert docker("logs", sleeping).stdout == "ready\nbye\n"
    assert docker("inspect", "--format", "{{.State.ExitCode}}", sleeping).stdout == "4\n"


def test_kill_ends_it(docker: Docker, sleeping: str) -> None:
    assert docker("kill", sleeping).returncode == 0
    state = "{{.State.Status}} {{.State.ExitCode}}"
    eventually(lambda: docker("inspect", "--format", state, sleeping).stdout == "exited 137\n", "its end")


def test_limits_hold_and_an_end_for_want_of_memory_is_told(docker: Docker, sleeping: str) -> None:
    stats = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", sleeping)
    assert stats.stdout.strip().endswith("64MiB")
    name = f"o{os.urandom(3).hex()}"
    done = docker(*RUN, "--name", name, "--memory", "16m", "image", "sh", "-c", "sleep 1; tail -c 200m /dev/zero")
    shown = docker("inspect", "--format", "{{.State.OOMKilled}}", name).stdout
    docker("rm", "--force", name)
    assert done.returncode == 137
    assert shown == "true\n"


def test_pause_and_unpause(docker: Docker, sleeping: str) -> None:
    assert docker("pause", sleeping).returncode == 0
    assert docker("inspect", "--format", "{{.State.Status}}", sleeping).stdout == "paused\n"
    assert docker("unpause", sleeping).returncode == 0
    assert docker("exec", sleeping, "true").returncode == 0


def test_hardening_options_are_taken(docker: Docker) -> None:
    options = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/scratch")
    shown = "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
    script = f"touch /x 2>/dev/null || echo sealed; touch /scratch/x && {shown}"
    done = docker(*RUN, "--rm", *options, "--pids-limit", "20", "image", "sh", "-c", script)
    words = done.stdout.split()
    assert words == ["sealed", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"], done.stderr


def test_nothing_is_left_of_a_container_that_was_removed(docker: Docker) -> None:
    docker(*RUN, "--rm", "image", "true")
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{docker.directory.name}/*") if path.is_dir()]
    assert groups == []
