"""What cannot be right about a container's specification, found out before anything is made for it."""

from __future__ import annotations

from services.nodeagent.keeper.store import check_id
from services.nodeagent.runtime.model import ContainerSpec, SandboxSpec


def validate(spec: ContainerSpec) -> None:
    """ValueError naming the field that cannot be right."""
    check_id(spec.id, "container")
    if not spec.argv:
        raise ValueError("container argv is empty")
    if not spec.lower:
        raise ValueError("container lower has no layer")
    if not spec.writable.startswith("/"):
        raise ValueError(f"container writable {spec.writable!r} is not an absolute path")
    if spec.cwd and not spec.cwd.startswith("/"):
        raise ValueError(f"container cwd {spec.cwd!r} is not an absolute path")
    if spec.cgroup and (not spec.cgroup.startswith("/") or ".." in spec.cgroup.split("/")):
        raise ValueError(f"container cgroup {spec.cgroup!r} is not an absolute path below the node's group")
    if spec.seccomp not in ("default", "unconfined"):
        raise ValueError(f"container seccomp {spec.seccomp!r} is neither default nor unconfined")


def validate_ids(spec: ContainerSpec, sandbox: SandboxSpec) -> None:
    """ValueError naming a user or group that the pod's user namespace does not have."""
    if sandbox.user_range:
        for name, value in (("user", spec.uid), ("group", spec.gid), *(("group", value) for value in spec.groups)):
            if value >= sandbox.user_range_size:
                raise ValueError(f"{name} {value} is not one of the {sandbox.user_range_size} ids of the pod")
