"""Replacing the keeper's program while containers run: on SIGHUP the process executes itself anew, with the code that
is installed now.

Pid and children stay the same, so nothing about a container changes hands; what a plain restart would find in records
and named pipes is found there. Only the terminals' masters exist nowhere but in descriptors: they are kept open over
execve(2) and their numbers handed on in the environment. A keeper that is killed instead loses those terminals.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from services.nodeagent.keeper.loop import Loop

if TYPE_CHECKING:
    from services.nodeagent.keeper.keeper import Keeper

VARIABLE = "WHERRY_KEEPER_TERMINALS"
RETRY_S = 0.02
SETTLE_S = 5.0
"""How long the births under way may take to settle before the program is replaced all the same; they are then taken up
as interrupted starts."""


def install(loop: Loop, keeper: Keeper) -> None:
    """Replace the program whenever SIGHUP arrives."""
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    signal.signal(signal.SIGHUP, lambda _number, _frame: os.eventfd_write(event, 1))

    def on_event(_events: int) -> None:
        os.eventfd_read(event)
        _replace_when_settled(loop, keeper, time.monotonic() + SETTLE_S)

    loop.watch(event, on_event)


def _replace_when_settled(loop: Loop, keeper: Keeper, deadline: float) -> None:
    busy = any(container.birth is not None for container in keeper.containers.held.values())
    if busy and time.monotonic() < deadline:
        loop.after(RETRY_S, lambda: _replace_when_settled(loop, keeper, deadline))
        return
    # the agent's connection ends with this program, and what was run for it with the connection
    keeper.sessions.end_all()
    keeper.zygote.close()
    terminals = {name: item.console for name, item in keeper.containers.held.items() if item.console >= 0}
    for fd in terminals.values():
        os.set_inheritable(fd, True)
    environment = {**os.environ, VARIABLE: json.dumps(terminals)}
    # a second signal must not end the program before it has said what it does with one
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError as exc:
        # the program is gone or cannot be run: the present one goes on
        print(f"keeper: cannot be replaced: {exc}", file=sys.stderr)
        for fd in terminals.values():
            os.set_inheritable(fd, False)
        signal.signal(signal.SIGHUP, handler)


def inherited() -> dict[str, int]:
    """Masters of terminals by container id, as the program before this one left them; they are this one's to close."""
    try:
        terminals = {str(name): int(fd) for name, fd in json.loads(os.environ.pop(VARIABLE, "{}")).items()}
    except (ValueError, AttributeError, TypeError):
        return {}
    kept = {}
    for name, fd in terminals.items():
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
        kept[name] = fd
    return kept
