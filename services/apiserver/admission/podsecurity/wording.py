"""How complaints about pods are worded: who (pod, containers), and lists of quoted names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from services.apiserver.protocol import Object

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class Complaint(NamedTuple):
    """A control that a pod violates: which one, and where."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def containers(spec: Object) -> Iterator[Object]:
    """All containers of a pod."""
    for kind in CONTAINERS:
        yield from spec.get(kind) or ()


def security(owner: Object) -> Object:
    """The security context of a pod or container, possibly empty."""
    found: Object = owner.get("securityContext") or {}
    return found


def names(spec: Object, is_bad: Callable[[Object], object]) -> list[str]:
    """Names of the containers that a predicate holds for."""
    return [one["name"] for one in containers(spec) if is_bad(one)]


def quoted(texts: Iterable[str]) -> str:
    return ", ".join(f'"{one}"' for one in texts)


def plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def listed(noun: str, found: Sequence[str]) -> str:
    """`container "a"` or `containers "a", "b"`."""
    return f"{plural(noun, len(found))} {quoted(found)}"


def setters(pod_is_bad: bool, bad: Sequence[str]) -> str:
    """`pod and container "a"`; empty if nobody is bad."""
    parts = ["pod"] if pod_is_bad else []
    return " and ".join([*parts, *([listed("container", bad)] if bad else [])])
