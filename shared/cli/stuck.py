"""Whether a nats-server has met a full disk and must be started again.

A stream whose write failed for lack of space answers no publish any more, also when there is space again; its server
says so in /healthz, on a loopback port named in its ports file. Only the standard library, as in the supervisor.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from shared.state.space import reserve

LIMIT_S = 1.0


def is_stuck(store: Path, program: str, pid: int) -> bool:
    """Whether the server `program` (a file name) with its files in `store` refuses writes though there is space."""
    return _write_failed(store / f"{program}_{pid}.ports") and _has_space(store)


def _write_failed(ports: Path) -> bool:
    try:
        url = str(json.loads(ports.read_text())["monitoring"][0])
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = b""
            while part := connection.recv(4096):
                answer += part
    except (OSError, ValueError, KeyError, IndexError):
        # it is starting, stopping, or another one: nothing is known
        return False
    # other reasons to be unhealthy, such as catching up with its peers, pass by themselves
    return b" 503 " in answer.partition(b"\r\n")[0] and b"write error" in answer


def _has_space(store: Path) -> bool:
    status = os.statvfs(store)
    return status.f_bavail * status.f_frsize >= reserve(status.f_blocks * status.f_frsize)
