from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

from services.nodeagent.oci import streams


def test_pipes_and_files_have_names_and_sockets_and_closed_streams_have_none(tmp_path: Path) -> None:
    path = tmp_path / "output"
    ours, theirs = socket.socketpair()
    with path.open("w") as file, ours, theirs:
        for stdin, stderr in ((subprocess.PIPE, theirs), (subprocess.PIPE, file)):
            process = subprocess.Popen(["cat"], stdin=stdin, stdout=file, stderr=stderr)
            try:
                found = streams.of_process(process.pid)
            finally:
                process.communicate()
            assert re.fullmatch(r"pipe:\[\d+\]", found["stdin"])
            assert found["stdout"].endswith(f":{path.stat().st_ino:x}]")
            assert found.get("stderr") == (None if stderr is theirs else found["stdout"])
    closed = subprocess.Popen(["sh", "-c", "exec cat 2>&-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        while Path(f"/proc/{closed.pid}/comm").read_text() != "cat\n":
            os.sched_yield()
        assert set(streams.of_process(closed.pid)) == {"stdin", "stdout"}
    finally:
        closed.communicate()


def test_a_stream_on_a_mount_of_the_container_is_not_from_outside() -> None:
    found = {"stdin": "pipe:[7]", "stdout": "file[1f:2a]", "stderr": "file[20:2a]"}
    assert streams.outside(found, {0x1F, 7}) == {"stdin": "pipe:[7]", "stderr": "file[20:2a]"}
