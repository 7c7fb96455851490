"""What the agent tells the keeper and what the keeper answers, so that both sides agree on names, units and defaults.

Plain dataclasses over JSON types: the keeper may import nothing but the standard library, and a newer agent must be
able to talk to an older keeper, so unknown keys are ignored and missing ones take their default.
"""

from __future__ import annotations

from shared.kernel.cgroups.groups import Counters, Limits
from shared.kernel.rlimits import Rlimit as Rlimit
from shared.records import as_dict, field, field_names, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

Resources = Limits  # what a Pod's `resources` become: see shared.kernel.cgroups.groups for units


@mutable
class Capabilities:
    """Changes to the default set, named as in capabilities(7) with or without `CAP_`; `ALL` names every capability."""

    add: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)


@mutable
class Mount:
    """One mount inside a container.

    `bind`: `source` is an absolute path of the host. `sub_path`, if given, is resolved below it without ever leaving
    it and made as a directory when it is missing. `tmpfs`: `options` go to the file system (`size=64m`, `mode=1777`);
    for a bind, `options` may hold nosuid, nodev, noexec. `propagation` is private, slave or shared (None,
    HostToContainer, Bidirectional in Kubernetes). The target is made inside the root, a file if the source is no
    directory. `recursive` carries the mounts below the source along; with `recursive_read_only`, read-only holds for
    them too. `layers` are those of a source that is a union of several, top first: owners cannot be mapped in a union,
    so a container with a user namespace of its own is shown another union, of mapped layers.
    """

    source: str
    target: str
    kind: str = "bind"  # bind | tmpfs
    read_only: bool = False
    propagation: str = "private"  # private | slave | shared
    recursive: bool = True
    recursive_read_only: bool = True
    options: list[str] = field(default_factory=list)
    sub_path: str = ""
    layers: list[str] = field(default_factory=list)


@mutable
class SandboxSpec:
    """The namespaces that the containers of one pod share.

    `cgroup` is a path below the node's own group (`/pods/<qos>/pod<uid>`). `netns_name` names the file in /run/netns.
    `user_range` is the node's first user and group id of a pod with a user namespace of its own, where it is root;
    0 leaves the pod in the node's. `time_offsets` are nanoseconds by clock (monotonic, boottime), for a time namespace.
    """

    id: str
    hostname: str = ""
    log_directory: str = ""
    cgroup: str = ""
    netns_name: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process: bool = False
    user_range: int = 0
    user_range_size: int = 65536
    time_offsets: dict[str, int] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    labels: dict[str, str] = field(default_factory=dict)


@mutable
class SandboxState:
    """`netns_path` is "" for a sandbox in the node's own network. `created_at` is in seconds since 1970."""

    id: str
    state: str  # ready | gone
    netns_path: str = ""
    created_at: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)
    message: str = ""


@mutable
class ContainerSpec:
    """One container. Every name (user, group, image) has been resolved to numbers and paths by the agent.

    `lower` are the unpacked layers, top first; `writable` is a directory of this container alone, for overlay's upper
    and work. `cgroup` is below the node's group; "" means `<sandbox's group>/<id>`. An empty `log_path` discards the
    output. `argv[0]` without a slash is looked up in the PATH of `env`. `runtime` is the command of another OCI runtime
    with its global options (`/usr/sbin/runc --root /run/...`); empty is the keeper itself.
    """

    id: str
    sandbox_id: str
    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    umask: int = 0o022
    lower: list[str] = field(default_factory=list)
    writable: str = ""
    read_only_root: bool = False
    mounts: list[Mount] = field(default_factory=list)
    pid_target: str = ""  # id of a container whose PID namespace this one joins (kubectl debug --target)
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    log_path: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = "default"  # default | unconfined
    seccomp_profile: dict[str, Any] = field(default_factory=dict)  # linux.seccomp of the OCI runtime-spec, instead
    apparmor: str = ""  # the name of a loaded profile; "" leaves the process unconfined
    unmasked_proc: bool = False  # procMount: Unmasked
    resources: Resources = field(default_factory=Resources)
    rlimits: dict[str, Rlimit] = field(default_factory=dict)  # "nofile" or "RLIMIT_NOFILE"
    oom_score_adj: int | None = None
    cgroup: str = ""
    stop_signal: str = "SIGTERM"
    runtime: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@mutable
class ContainerState:
    """`pid` is that of the node (0 when not running); times are seconds since 1970, 0.0 when not yet.

    `exit_code` is 128 + signal for a process ended by a signal; 126 or 127 with `message` when it could not be
    executed, 128 when its surroundings could not be made.
    `warnings` say what the host could not give (for example an oom_score_adj) though the container runs.
    """

    id: str
    sandbox_id: str
    name: str
    state: str  # created | running | exited
    pid: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    signal: int = 0
    oom_killed: bool = False
    paused: bool = False
    message: str = ""
    log_path: str = ""
    stop_signal: str = "SIGTERM"
    tty: bool = False
    stdin: bool = False
    warnings: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@mutable
class ContainerStats(Counters):
    """The counters of a container's or sandbox's group at `time`, seconds since 1970."""

    id: str = ""
    time: float = 0.0


@mutable
class InterfaceStats:
    """Counters of one network interface of a sandbox, as /proc/net/dev has them."""

    name: str
    receive_bytes: int = 0
    receive_packets: int = 0
    receive_errors: int = 0
    receive_dropped: int = 0
    transmit_bytes: int = 0
    transmit_packets: int = 0
    transmit_errors: int = 0
    transmit_dropped: int = 0


_NESTED: dict[tuple[type, str], type] = {
    (SandboxSpec, "resources"): Resources,
    (ContainerSpec, "resources"): Resources,
    (ContainerSpec, "capabilities"): Capabilities,
    (ContainerSpec, "mounts"): Mount,
    (ContainerSpec, "rlimits"): Rlimit,
}
_NESTED_NAMES: dict[type, list[str]] = {}
for _kind, _name in _NESTED:
    _NESTED_NAMES.setdefault(_kind, []).append(_name)


def encode(value: Any) -> dict[str, Any]:
    """The JSON form of one of this module's objects; its lists and dictionaries are shared, not copied."""
    kind = type(value)
    result = as_dict(value)
    for name in _NESTED_NAMES.get(kind, ()):
        result[name] = _encode_nested(result[name])
    return result


def _encode_nested(value: Any) -> Any:
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value if value is None else encode(value)


def decode(kind: type[T], data: dict[str, Any]) -> T:
    """The object of type `kind` from its JSON form. Unknown keys are ignored; a missing required key is a TypeError."""
    known = field_names(kind)
    values = {name: value for name, value in data.items() if name in known}
    for name in _NESTED_NAMES.get(kind, ()):
        if values.get(name) is not None:
            values[name] = _decode_nested(_NESTED[kind, name], name, values[name])
    return kind(**values)


def _decode_nested(kind: type, name: str, value: Any) -> Any:
    if name == "rlimits":
        return {key: decode(kind, entry) for key, entry in value.items()}
    return [decode(kind, entry) for entry in value] if isinstance(value, list) else decode(kind, value)
