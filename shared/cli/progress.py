"""Lines that tell how far a long command is; on a terminal the current step is shown while it lasts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from shared.cli.cluster import ClusterError

Value = TypeVar("Value")

PAUSES_PER_PROBE = 9.0


class Progress:
    """Prints one line a step with the seconds that it took."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """One step; the value is a function that replaces what is shown of its progress."""
        started = time.monotonic()
        self._show(f"  … {text}")

        def update(detail: str) -> None:
            self._show(f"  … {text}: {detail}")

        try:
            yield update
        except BaseException:
            self._line(f"  ✗ {text}")
            raise
        self._line(f"  ✓ {text} ({time.monotonic() - started:.1f} s)")

    def _show(self, text: str) -> None:
        if self.terminal:
            print(f"\r\033[K{text}", end="", flush=True)

    def _line(self, text: str) -> None:
        print(f"\r\033[K{text}" if self.terminal else text, flush=True)


def wait_for(
    probe: Callable[[], Value | None], limit_s: float, failure: Callable[[], str], pause_s: float = 0.1
) -> Value:
    """Call `probe` until it returns something true. Between two calls there is a pause, longer where a probe takes
    long, because what is waited for has to share the processors with it.

    Raises:
        ClusterError: with the text of `failure()` after `limit_s` seconds.
    """
    deadline = time.monotonic() + limit_s
    while True:
        began = time.monotonic()
        if value := probe():
            return value
        now = time.monotonic()
        if now > deadline:
            raise ClusterError(failure())
        time.sleep(max(pause_s, PAUSES_PER_PROBE * (now - began)))
