"""Resource limits of a process, see getrlimit(2)."""

from __future__ import annotations

import resource

from shared.records import mutable


@mutable
class Rlimit:
    """One limit; -1 is infinity."""

    soft: int
    hard: int


def number_of(name: str) -> int | None:
    """The RLIMIT_ constant of a limit's name in any of its usual forms; None if there is none."""
    number: int | None = getattr(resource, "RLIMIT_" + name.upper().removeprefix("RLIMIT_"), None)
    return number


def lowered(number: int, limit: Rlimit) -> Rlimit:
    """The nearest that this process may give without CAP_SYS_RESOURCE."""
    hard = _least(limit.hard, resource.getrlimit(number)[1])
    return Rlimit(_least(limit.soft, hard), hard)


def _least(*values: int) -> int:
    return min((value for value in values if value >= 0), default=-1)
