"""At which levels the node acts: hard thresholds at once, soft ones after a grace period. Read from the environment.

The notation is kubelet's: `memory.available<100Mi,nodefs.available<10%`, and `nodefs.available=1m30s` for times.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from services.nodeagent.eviction.signals import SIGNALS, Level
from shared.errors import SettingsError
from shared.objects import quantities

T = TypeVar("T")

# kubelet's defaults; it has none for processes, without which a fork bomb outside any pod takes the node down
DEFAULT_HARD = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%,"
    "pid.available<10%"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount, or a share (0 to 1) of the capacity."""

    amount: int = 0
    share: float | None = None

    def of(self, capacity: int) -> int:
        return self.amount if self.share is None else int(capacity * self.share)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Act when less than `quantity` is left for `grace` seconds, until `reclaim` more than that is left again."""

    signal: str
    quantity: Quantity
    grace: float = 0.0
    reclaim: Quantity = Quantity()

    def limit(self, level: Level, *, reclaiming: bool = False) -> int:
        extra = self.reclaim.of(level.capacity) if reclaiming else 0
        return self.quantity.of(level.capacity) + extra


@dataclass(frozen=True, slots=True)
class EvictionSettings:
    """Times in seconds: between two looks, how long a pressure stays reported, the grace of a soft eviction."""

    thresholds: tuple[Threshold, ...] = ()
    interval: float = 10.0
    transition: float = 300.0
    most_grace: float = 0.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Raises SettingsError naming the variable."""
        env = os.environ if environ is None else environ
        reclaim = _table(env, "WHERRY_EVICTION_MINIMUM_RECLAIM", "=", quantity)
        graces = _table(env, "WHERRY_EVICTION_SOFT_GRACE_PERIOD", "=", duration)
        hard = _table(env, "WHERRY_EVICTION_HARD", "<", quantity, DEFAULT_HARD)
        soft = _table(env, "WHERRY_EVICTION_SOFT", "<", quantity)
        found = [Threshold(name, value, 0.0, reclaim.get(name, Quantity())) for name, value in hard.items()]
        for name, value in soft.items():
            if name not in graces:
                raise SettingsError(f"WHERRY_EVICTION_SOFT_GRACE_PERIOD names no time for {name}: add {name}=1m")
            found.append(Threshold(name, value, graces[name], reclaim.get(name, Quantity())))
        return cls(
            tuple(found),
            _seconds(env, "WHERRY_EVICTION_INTERVAL", "10s"),
            _seconds(env, "WHERRY_EVICTION_PRESSURE_TRANSITION_PERIOD", "5m"),
            _seconds(env, "WHERRY_EVICTION_MAX_POD_GRACE_PERIOD", "0s"),
        )


def quantity(text: str) -> Quantity:
    """`10%` or a quantity such as 100Mi. Raises ValueError."""
    if text.endswith("%"):
        share = float(text[:-1]) / 100
        if not 0 <= share <= 1:
            raise ValueError(f"{text} is not between 0% and 100%")
        return Quantity(share=share)
    return Quantity(quantities.value(text))


def duration(text: str) -> float:
    """Seconds of a Go duration such as 1m30s. Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _seconds(env: Mapping[str, str], name: str, default: str) -> float:
    try:
        return duration(env.get(name) or default)
    except ValueError as exc:
        raise SettingsError(f"{name}: {exc}") from exc


def _table(
    env: Mapping[str, str], variable: str, operator: str, parse: Callable[[str], T], default: str = ""
) -> dict[str, T]:
    found = {}
    for part in filter(None, env.get(variable, default).split(",")):
        name, sign, text = part.strip().partition(operator)
        if not sign or name not in SIGNALS:
            raise SettingsError(
                f"{variable}: {part!r} is not of the form SIGNAL{operator}VALUE; the signals are {', '.join(SIGNALS)}"
            )
        try:
            found[name] = parse(text.strip())
        except ValueError as exc:
            raise SettingsError(f"{variable}: {name}: {exc}") from exc
    return found


@dataclass(slots=True)
class Watch:
    """What was seen so far: since when thresholds are crossed, which are acted upon, when conditions last held."""

    since: dict[Threshold, float] = field(default_factory=dict)
    acting: set[Threshold] = field(default_factory=set)
    held: dict[str, float] = field(default_factory=dict)
