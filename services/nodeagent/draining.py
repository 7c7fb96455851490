"""The end of a session: reading what a process has written before it exited, and no longer.

A process may leave children that hold its pipes open for ever (`sh -c 'sleep 1000 &'`), so the end of file cannot be
waited for; but whatever the process itself wrote lies in the pipes when it has exited.
"""

import array
import asyncio
import fcntl
import termios

from services.nodeagent.runtime.sessions import Session

STEP_S = 0.02


async def drain(session: Session) -> None:
    """Close the outputs of an ended process as soon as their readers have emptied them."""
    for end in (session.stdout, session.stderr):
        # a pipe tells when it fills, never when it has become empty
        while end is not None and end.fileno() >= 0 and _unread(end.fileno()):  # noqa: ASYNC110
            await asyncio.sleep(STEP_S)
        if end is not None:
            end.close()


def _unread(fd: int) -> int:
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return 0
    return count[0]
