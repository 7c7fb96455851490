"""Signals by the interpreter's own module, as plain numbers.

The standard library's `signal` makes enumerations of them, and with `enum` and what that needs takes a command of
`wherry-runtime`, each a process of its own, 3 ms to import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import *  # noqa: F403
else:
    from _signal import *  # noqa: F403
