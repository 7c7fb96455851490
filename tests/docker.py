"""A Docker daemon of one's own for tests and benchmarks: own data, sockets and networks, gone when the block ends."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.kernel import mounts
from shared.kernel.cgroups import groups

START_S = 60.0
CLIENT = "/usr/bin/docker"  # Debian's, beside the daemon of the same version


def installed() -> bool:
    return shutil.which("dockerd") is not None and os.path.exists(CLIENT)


class Docker:
    """`docker(...)` runs a command of the client against the daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "docker.sock"
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(directory / "c")}

    def command(self, *words: str) -> list[str]:
        return [CLIENT, *words]

    def __call__(self, *words: str, input: bytes | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        done = subprocess.run(
            self.command(*words), env=self.environment, input=input, capture_output=True, check=False, timeout=60
        )
        text = [stream.decode(errors="replace") for stream in (done.stdout, done.stderr)]
        return subprocess.CompletedProcess(done.args, done.returncode, *text)

    def load(self, rootfs: Path, name: str) -> None:
        """Make an image of a directory."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(rootfs, arcname=".")
        done = self("import", "-", name, input=archive.getvalue())
        if done.returncode:
            raise RuntimeError(f"docker import: {done.stderr}")


@contextmanager
def daemon(directory: Path, runtimes: Mapping[str, str] | None = None) -> Iterator[Docker]:
    """Start a daemon with further runtimes by name; its containers have to be gone at the end."""
    docker = Docker(directory)
    settings = {
        "data-root": str(directory / "data"),
        "exec-root": str(directory / "exec"),
        "pidfile": str(directory / "docker.pid"),
        "hosts": [f"unix://{docker.socket}"],
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "live-restore": False,
        "cgroup-parent": f"/{directory.name}",
        "runtimes": {name: {"path": path} for name, path in (runtimes or {}).items()},
    }
    (directory / "daemon.json").write_text(json.dumps(settings))
    with open(directory / "daemon.log", "wb") as output:
        command = ["dockerd", "--config-file", str(directory / "daemon.json")]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_S
        while docker("version").returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not run: {(directory / 'daemon.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield docker
    finally:
        process.terminate()
        process.wait()
        mounts.unmount_below(directory)
        roots = {point.target for point in mounts.mount_points() if point.kind in ("cgroup", "cgroup2")}
        groups.remove_directories(roots, f"/{directory.name}", parents=False)  # the daemon leaves its parent group
