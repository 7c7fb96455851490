"""Streams through the whole cluster: both protocols, terminals, half-closed connections, and much data at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import socket
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.e2e.harness import Kubectl, TestCluster, pod, until

PROTOCOLS = pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])
COPIES = 10
COPY_BYTES = 100 << 20
# Ten copies have at most their windows in flight (512 KiB each way at every hop); the rest is the interpreter's slack.
GROWTH_LIMIT_BYTES = 150 << 20


def environment(kubectl: Kubectl, websockets: str) -> dict[str, str]:
    switches = dict.fromkeys(("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"), websockets)
    return kubectl.environment() | switches


@PROTOCOLS
def test_exec_over_either_protocol(kubectl: Kubectl, websockets: str) -> None:
    kubectl.apply(pod("shell", "exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    script = "wc -c; echo bad >&2; exit 7"
    done = subprocess.run(
        kubectl.command("exec", "-i", "shell", "--", "sh", "-c", script),
        input="x" * 3_000_000,
        capture_output=True,
        text=True,
        env=environment(kubectl, websockets),
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (7, "3000000")
    assert "bad" in done.stderr


@PROTOCOLS
def test_a_terminal_follows_the_size_of_the_window(kubectl: Kubectl, websockets: str) -> None:
    kubectl.apply(pod("shell", "exec sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    session = subprocess.Popen(
        kubectl.command("exec", "-it", "shell", "--", "sh"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(kubectl, websockets),
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"until stty size | grep '33 101'; do :; done; echo first-$((1+1))\n")
    assert b"33 101" in _read_until(ours, b"first-2")
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 120, 0, 0))
    os.killpg(session.pid, 28)  # SIGWINCH
    os.write(ours, b"until stty size | grep '44 120'; do :; done; echo second-$((1+1)); exit 3\n")
    assert b"44 120" in _read_until(ours, b"second-2")
    assert session.wait(timeout=30) == 3
    os.close(ours)


@PROTOCOLS
def test_attach_reaches_the_running_process(kubectl: Kubectl, websockets: str) -> None:
    made = pod("reader", "while read line; do echo got $line; done; echo end", "Never", stdin=True, stdinOnce=True)
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
    done = subprocess.run(
        kubectl.command("attach", "-i", "reader"),
        input="one\ntwo\n",
        capture_output=True,
        text=True,
        env=environment(kubectl, websockets),
        timeout=60,
    )
    assert "got one\ngot two\n" in done.stdout
    until(lambda: "end" in kubectl("logs", "reader"), "the end of input to reach the process")


@PROTOCOLS
def test_a_half_closed_connection_still_brings_its_answer(kubectl: Kubectl, websockets: str) -> None:
    kubectl.apply(pod("counter", "while true; do nc -l -p 7000 -e sh -c 'wc -c'; done"))
    kubectl("wait", "--for=condition=Ready", "pod/counter", "--timeout=60s")
    forward = subprocess.Popen(
        kubectl.command("port-forward", "counter", ":7000"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(kubectl, websockets),
    )
    assert forward.stdout is not None
    try:
        port = int(forward.stdout.readline().partition("127.0.0.1:")[2].partition(" ")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"x" * 1_000_000)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(4096):
                answer += data
        assert answer.strip() == b"1000000"
    finally:
        forward.terminate()
        forward.wait()
        forward.stdout.close()


def test_ten_copies_at_once_arrive_intact_and_cost_no_memory(
    cluster: TestCluster, kubectl: Kubectl, tmp_path: Path
) -> None:
    made = pod("store", "exec sleep 100000", volumeMounts=[{"name": "store", "mountPath": "/store"}])
    made["spec"]["volumes"] = [{"name": "store", "emptyDir": {}}]
    made["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node-1"}
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/store", "--timeout=60s")
    block = os.urandom(1 << 20)
    digests = []
    for number in range(COPIES):
        digest = hashlib.sha256()
        with (tmp_path / f"{number}.bin").open("wb") as file:
            for index in range(COPY_BYTES >> 20):
                piece = bytes((number, index)) + block[2:]
                file.write(piece)
                digest.update(piece)
        digests.append(digest.hexdigest())
    processes = {name: cluster.pid(name) for name in ("apiserver", "node-1.agent")}
    before = {name: _resident(pid) for name, pid in processes.items()}
    copies = [
        kubectl.start("cp", str(tmp_path / f"{number}.bin"), f"{kubectl.namespace}/store:/store/{number}.bin")
        for number in range(COPIES)
    ]
    peak = dict(before)

    def finished() -> bool:
        for name, pid in processes.items():
            peak[name] = max(peak[name], _resident(pid))
        return all(copy.poll() is not None for copy in copies)

    until(finished, "all copies to end", 280)
    for copy in copies:
        assert copy.stdout is not None
        assert copy.returncode == 0, copy.stdout.read()
        copy.stdout.close()
    found = kubectl("exec", "store", "--", "sha256sum", *(f"/store/{number}.bin" for number in range(COPIES)))
    assert [line.split()[0] for line in found.splitlines()] == digests
    growth = {name: peak[name] - before[name] for name in processes}
    assert all(size < GROWTH_LIMIT_BYTES for size in growth.values()), growth
    kubectl("cp", f"{kubectl.namespace}/store:/store/0.bin", str(tmp_path / "back.bin"), timeout=200)
    assert hashlib.sha256((tmp_path / "back.bin").read_bytes()).hexdigest() == digests[0]


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _read_until(fd: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(fd, 4096)
    return seen
