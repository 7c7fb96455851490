"""The runtime behind podman, which drives it through conmon as in daily use."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.oci.conftest import DEADLINE_S, make_rootfs
from tests.leaks import Leaks

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
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }
        self._command = ["podman", "--runtime", str(runtime), "--tmpdir", str(directory / "tmp")]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`run` with the options first, then "--", then the command."""
        place = words.index("--")
        fixed = ("--network", "none", "--name", self.name, "--rootfs", str(self.rootfs))
        return self("run", *words[:place], *fixed, *words[place + 1 :])


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
