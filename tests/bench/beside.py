"""The peers of `make bench-node` in a process of their own, so that ours and theirs can be measured in turns.

Theirs is another mount namespace (see peers.hide_second_generation), which a process cannot leave again.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import peers

_SLOW = ("docker", "podman")


class Others:
    """What is installed, by the names of their rows: those that are measured in turns with ours, and the slow ones."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rw", encoding="utf-8")
        names = json.loads(self._stream.readline())
        self.quick = [name for name in names if not name.startswith(_SLOW)]
        self.slow = [name for name in names if name.startswith(_SLOW)]

    def seconds(self, name: str) -> float:
        """How long one container took, from start to exit."""
        return float(self._ask(name, 1, 1))

    def rate(self, name: str, count: int, parallel: int) -> float:
        """Containers a second."""
        return count / float(self._ask(name, count, parallel))

    def _ask(self, *request: Any) -> Any:
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        return json.loads(self._stream.readline())

    def close(self) -> None:
        self._stream.close()


@contextmanager
def beside(directory: Path, layer: Path) -> Iterator[Others]:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            peers.hide_second_generation()
            _serve(theirs, directory, layer)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    theirs.close()
    with ours:
        try:
            others = Others(ours)
            yield others
            others.close()
        finally:
            ours.close()
            os.waitpid(pid, 0)


def _serve(connection: socket.socket, directory: Path, layer: Path) -> None:
    with connection, connection.makefile("rw", encoding="utf-8") as stream, peers.peers(directory, layer) as found:
        for run in found.values():
            run("warm")
        stream.write(json.dumps(list(found)) + "\n")
        stream.flush()
        for line in stream:
            name, count, parallel = json.loads(line)
            run = found[name]
            begin = time.perf_counter()
            if parallel == 1:
                for number in range(count):
                    run(f"t{number}")
            else:
                with ThreadPoolExecutor(parallel) as pool:
                    list(pool.map(run, [f"p{number}" for number in range(count)]))
            stream.write(json.dumps(time.perf_counter() - begin) + "\n")
            stream.flush()
