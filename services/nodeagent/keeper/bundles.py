"""The config.json of a container for another OCI runtime, made from the same specification and root plan as our own.

Pure. Sources of mounts are not the volumes themselves but places that foreign.py has put them at, because only it can
resolve a path in a volume safely. Source: OCI runtime-spec 1.0, config.md and config-linux.md.
"""

from __future__ import annotations

from typing import Any

from services.nodeagent.keeper import capabilities, seccomp
from services.nodeagent.keeper.plan import Bind, FileSystem, RootPlan
from services.nodeagent.keeper.process import Process
from services.nodeagent.runtime.model import ContainerSpec, Resources
from shared.kernel import syscalls as sys

_FLAGS = (
    (sys.MS_RDONLY, "ro"),
    (sys.MS_NOSUID, "nosuid"),
    (sys.MS_NODEV, "nodev"),
    (sys.MS_NOEXEC, "noexec"),
    (sys.MS_STRICTATIME, "strictatime"),
)
_ATTRIBUTES = (
    (sys.MOUNT_ATTR_RDONLY, "ro"),
    (sys.MOUNT_ATTR_NOSUID, "nosuid"),
    (sys.MOUNT_ATTR_NODEV, "nodev"),
    (sys.MOUNT_ATTR_NOEXEC, "noexec"),
)
_NAMESPACES = {sys.CLONE_NEWNET: "network", sys.CLONE_NEWUTS: "uts", sys.CLONE_NEWIPC: "ipc", sys.CLONE_NEWTIME: "time"}
_CGROUPS = "/sys/fs/cgroup"


def sources(root: RootPlan) -> list[Bind]:
    """The parts of the host that have to be put in place, in the order of their numbers."""
    return [step for step in root.inside if isinstance(step, Bind)]


def config(
    spec: ContainerSpec,
    process: Process,
    root: RootPlan,
    *,
    root_path: str,
    source_directory: str,
    namespaces: list[tuple[str, int]],
    pid_namespace: str | None,
    cgroup: str,
) -> dict[str, Any]:
    """config.json. Source number N lies at `source_directory`/N; `pid_namespace` is "" for a new one, None for the
    host's; `cgroup` is the path that the runtime finds made already."""
    kinds: list[dict[str, str]] = [{"type": "mount"}, {"type": "cgroup"}]
    if pid_namespace is not None:
        kinds.append({"type": "pid", "path": pid_namespace} if pid_namespace else {"type": "pid"})
    kinds += [{"type": _NAMESPACES[kind], "path": path} for path, kind in namespaces]
    linux: dict[str, Any] = {
        "namespaces": kinds,
        "cgroupsPath": cgroup,
        "resources": resources(spec.resources, privileged=spec.privileged),
        "maskedPaths": list(root.hidden),
        "readonlyPaths": list(root.read_only),
        "rootfsPropagation": "rslave",
    }
    if spec.seccomp_profile:
        linux["seccomp"] = spec.seccomp_profile
    elif spec.seccomp == "default" and not spec.privileged:
        linux["seccomp"] = seccomp.profile(capabilities.granted(spec.capabilities, privileged=False))
    return {
        "ociVersion": "1.0.2",
        "process": process_document(process, terminal=spec.tty),
        "root": {"path": root_path, "readonly": root.seal_root},
        "mounts": _mounts(root, source_directory),
        "linux": linux,
    }


def process_document(process: Process, *, terminal: bool) -> dict[str, Any]:
    """`process` of config.json, which is also what `exec --process` takes."""
    names = sorted(
        f"CAP_{name}" for name in capabilities.NAMES if process.capabilities >> capabilities.NUMBERS[name] & 1
    )
    user: dict[str, Any] = {"uid": process.uid, "gid": process.gid, "additionalGids": list(process.groups)}
    if process.umask is not None:
        user["umask"] = process.umask
    document: dict[str, Any] = {
        "terminal": terminal,
        "user": user,
        "args": list(process.argv),
        "env": [f"{name}={value}" for name, value in process.env.items()],
        "cwd": process.cwd or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
        "noNewPrivileges": process.no_new_privileges,
        "rlimits": [
            {"type": "RLIMIT_" + name.upper().removeprefix("RLIMIT_"), "soft": limit.soft, "hard": limit.hard}
            for name, limit in process.rlimits.items()
        ],
    }
    if process.apparmor:
        document["apparmorProfile"] = process.apparmor
    if process.oom_score_adj is not None:
        document["oomScoreAdj"] = process.oom_score_adj
    return document


def resources(limits: Resources, *, privileged: bool) -> dict[str, Any]:
    """`linux.resources`; what is not limited is left out."""
    cpu = {
        "shares": limits.cpu_shares,
        "quota": limits.cpu_quota_us,
        "period": limits.cpu_period_us,
        "cpus": limits.cpuset_cpus or None,
    }
    memory = {"limit": limits.memory_bytes, "reservation": limits.memory_reservation_bytes}
    return {
        "devices": [{"allow": privileged, "access": "rwm"}],
        "cpu": {name: value for name, value in cpu.items() if value is not None},
        "memory": {name: value for name, value in memory.items() if value is not None},
        **({"pids": {"limit": limits.pids}} if limits.pids is not None else {}),
    }


def _mounts(root: RootPlan, source_directory: str) -> list[dict[str, Any]]:
    """The plan's steps as mounts. Nodes and links of /dev are the runtime's own business, and so are control groups,
    which every runtime lays out for the host it finds."""
    mounts: list[dict[str, Any]] = []
    groups = False
    number = 0
    for step in root.inside:
        match step:
            case FileSystem(kind, target, flags, data) if not target.startswith(_CGROUPS):
                options = [name for flag, name in _FLAGS if flags & flag] + [word for word in data.split(",") if word]
                mounts.append({"destination": target, "type": kind, "source": kind, "options": options})
            case FileSystem(_, _, flags, _) if not groups:
                groups = True
                options = [name for flag, name in _FLAGS if flags & flag]
                mounts.append({"destination": _CGROUPS, "type": "cgroup", "source": "cgroup", "options": options})
            case Bind():
                options = [name for flag, name in _ATTRIBUTES if step.attributes & flag]
                options += ["rbind" if step.recursive else "bind", _propagation(step)]
                source = f"{source_directory}/{number}"
                mounts.append({"destination": step.target, "type": "bind", "source": source, "options": options})
                number += 1
            case _:
                continue
    return mounts


def _propagation(step: Bind) -> str:
    return "rslave" if step.propagation == sys.MS_SLAVE else "rprivate"


def validate(root: RootPlan, *, user_namespace: bool) -> None:
    """ValueError for what another runtime cannot be asked for."""
    if user_namespace:
        raise ValueError("a user namespace (hostUsers: false) is only possible with the built-in runtime")
    for step in sources(root):
        if step.propagation == sys.MS_SHARED:
            text = "mount propagation Bidirectional is only possible with the built-in runtime"
            raise ValueError(f"mount {step.target}: {text}")
