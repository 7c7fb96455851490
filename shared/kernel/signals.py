"""Signals by the interpreter's own module, as plain numbers.

The standard library's `signal` makes enumerations of them, and with `enum` and what that needs takes a command of
`wherry-runtime`, each a process of its own, 3 ms to import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import (
        SIG_DFL,
        SIG_SETMASK,
        SIGHUP,
        SIGINT,
        SIGKILL,
        SIGPIPE,
        SIGQUIT,
        SIGTERM,
        SIGUSR1,
        SIGUSR2,
        SIGXFSZ,
        pause,
        pidfd_send_signal,
        pthread_sigmask,
        signal,
    )
else:
    from _signal import (
        SIG_DFL,
        SIG_SETMASK,
        SIGHUP,
        SIGINT,
        SIGKILL,
        SIGPIPE,
        SIGQUIT,
        SIGTERM,
        SIGUSR1,
        SIGUSR2,
        SIGXFSZ,
        pause,
        pidfd_send_signal,
        pthread_sigmask,
        signal,
    )

__all__ = [
    "SIGHUP",
    "SIGINT",
    "SIGKILL",
    "SIGPIPE",
    "SIGQUIT",
    "SIGTERM",
    "SIGUSR1",
    "SIGUSR2",
    "SIGXFSZ",
    "SIG_DFL",
    "SIG_SETMASK",
    "pause",
    "pidfd_send_signal",
    "pthread_sigmask",
    "signal",
]
