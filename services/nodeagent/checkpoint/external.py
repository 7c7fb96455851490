"""What lies outside of a container's image: mounts of the host inside its root, and the FIFOs of its output.

The keeper writes it down beside the image (EXTERNAL) at the dump, because criu asks for exactly these names again when
it restores, while the host's side of each is another one then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from services.nodeagent.keeper.plan import Bind, FileSystem, RootPlan, Step
from shared.kernel.mounts import parse_mountinfo
from shared.records import as_dict, field, mutable

EXTERNAL = "external.json"
CGROUP = "cgroup2"


@mutable
class External:
    """`mounts` are targets inside the container; `files` maps stdin, stdout, stderr to criu's names of them."""

    mounts: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def save(self, images: str) -> None:
        with open(f"{images}/{EXTERNAL}", "w", encoding="utf-8") as file:
            json.dump(as_dict(self), file)

    @classmethod
    def load(cls, images: str) -> External:
        with open(f"{images}/{EXTERNAL}", encoding="utf-8") as file:
            return cls(**json.load(file))


def mounts_of(plan: RootPlan, pid: int) -> list[str]:
    """The targets of every mount that comes from the host, those included that lie below a recursive one."""
    return mounts_below([target for step in plan.inside if (target := external_target(step))], pid)


def mounts_below(roots: list[str], pid: int) -> list[str]:
    """The mounts of a process's namespace at and below `roots`."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        present = [point.target for point in parse_mountinfo(file.read())]
    return list(dict.fromkeys(target for target in present if _owner(target, roots)))


def external_target(step: Step) -> str:
    """The target of a step whose mount is not part of an image, else ""."""
    if isinstance(step, Bind) or (isinstance(step, FileSystem) and step.kind == CGROUP):
        return step.target.rstrip("/")
    return ""


def sources(mounts: Iterable[str], staged: dict[str, str]) -> dict[str, str]:
    """Where each mount is taken from; `staged` are the places of the plan's own. ValueError if one has no owner."""
    result = {}
    for target in mounts:
        owner = _owner(target, staged)
        if not owner:
            raise ValueError(f"the checkpoint has a mount at {target} that the container no longer has")
        result[target] = staged[owner] + target[len(owner) :]
    return result


def _owner(target: str, roots: Iterable[str]) -> str:
    """The longest of `roots` at or above `target`, or ""."""
    found = [root for root in roots if target == root or target.startswith(f"{root}/")]
    return max(found, key=len, default="")
