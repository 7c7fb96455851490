"""config.json: read, checked, and turned into what the rest of the runtime asks for.

Only what is used is looked at; an unknown property is no error (runtime-spec, config.md, "Extensibility"), an invalid
value is a ValueError that names the property.
"""

from __future__ import annotations

import os

from services.nodeagent.keeper import capabilities
from services.nodeagent.keeper.process import CapabilitySets, Process
from services.nodeagent.oci import filters
from shared import quickjson
from shared.kernel import apparmor, syscalls
from shared.kernel.rlimits import Rlimit
from shared.records import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION_MIN, VERSION_MAX = "1.0.0", "1.2.1"
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# type -> (flag of clone3, name in /proc/<pid>/ns)
NAMESPACES = {
    "cgroup": (syscalls.CLONE_NEWCGROUP, "cgroup"),
    "ipc": (syscalls.CLONE_NEWIPC, "ipc"),
    "mount": (syscalls.CLONE_NEWNS, "mnt"),
    "network": (syscalls.CLONE_NEWNET, "net"),
    "pid": (syscalls.CLONE_NEWPID, "pid"),
    "time": (syscalls.CLONE_NEWTIME, "time"),
    "user": (syscalls.CLONE_NEWUSER, "user"),
    "uts": (syscalls.CLONE_NEWUTS, "uts"),
}
_LIMITS = "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
RLIMITS = frozenset(f"RLIMIT_{name}" for name in _LIMITS.split())
PERSONALITIES = {"LINUX": 0x0, "LINUX32": 0x8}
PROPAGATIONS = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")

# kernel.* of an IPC namespace, and fs.mqueue.*
_IPC_NAMES = "auto_msgmni msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced shm_next_id"
_IPC_SYSCTLS = frozenset(f"kernel.{name}" for name in _IPC_NAMES.split())


@frozen
class Config:
    """A bundle's configuration. `raw` is the document, `namespaces` maps a type to the path to join ("": a new one)."""

    bundle: str
    raw: dict[str, Any]
    root: str
    namespaces: dict[str, str]

    @property
    def linux(self) -> dict[str, Any]:
        return self.raw.get("linux") or {}

    @property
    def process(self) -> dict[str, Any] | None:
        return self.raw.get("process")

    @property
    def terminal(self) -> bool:
        return bool((self.process or {}).get("terminal"))

    @property
    def annotations(self) -> dict[str, str]:
        return self.raw.get("annotations") or {}

    @property
    def resources(self) -> dict[str, Any]:
        return self.linux.get("resources") or {}

    def new(self, kind: str) -> bool:
        """Whether a new namespace of this type is wanted."""
        return self.namespaces.get(kind) == ""

    def hooks(self, name: str) -> list[dict[str, Any]]:
        return (self.raw.get("hooks") or {}).get(name) or []


def load(bundle: str) -> Config:
    """Read and check a bundle. OSError or ValueError."""
    path = os.path.realpath(bundle)
    file = f"{path}/config.json"
    try:
        with open(file, "rb") as document:
            raw = quickjson.loads(document.read())
    except ValueError as exc:
        raise ValueError(f"{file} is not JSON: {exc}") from exc
    return parse(raw, path)


def parse(raw: Any, bundle: str) -> Config:
    """Check a document. ValueError naming the property that cannot be right."""
    if not isinstance(raw, dict):
        raise ValueError("config.json is not an object")
    version = raw.get("ociVersion")
    if not isinstance(version, str) or not _is_version(version):
        raise ValueError(f"ociVersion {version!r} is not a version 1 of the runtime specification")
    root = (raw.get("root") or {}).get("path")
    if not isinstance(root, str) or not root:
        raise ValueError("root.path is not set")
    root = os.path.normpath(os.path.join(bundle, root))
    if not os.path.isdir(root):
        raise ValueError(f"root.path {root!r} is not a directory")
    config = Config(bundle, raw, root, _namespaces(raw))
    _check_linux(config)
    _check_hooks(config)
    if config.process is not None:
        check_process(config.process)
    return config


def _is_version(text: str) -> bool:
    """Whether it is 1.y.z, followed by anything that semantic versioning permits there."""
    numbers = text.partition("+")[0].partition("-")[0].split(".")
    return len(numbers) == 3 and numbers[0] == "1" and all(number.isdecimal() for number in numbers)


def _namespaces(raw: dict[str, Any]) -> dict[str, str]:
    result: dict[str, str] = {}
    for index, entry in enumerate((raw.get("linux") or {}).get("namespaces") or ()):
        where, kind, path = f"linux.namespaces[{index}]", entry.get("type"), entry.get("path") or ""
        if kind not in NAMESPACES:
            raise ValueError(f"{where}.type: {kind!r} is no namespace")
        if kind in result:
            raise ValueError(f"{where}.type: {kind} is listed twice")
        if path and not path.startswith("/"):
            raise ValueError(f"{where}.path: {path!r} is not an absolute path")
        result[kind] = path
    return result


def _check_linux(config: Config) -> None:
    linux, namespaces = config.linux, config.namespaces
    for name in ("hostname", "domainname"):
        if config.raw.get(name) and "uts" not in namespaces:
            raise ValueError(f"{name} is set, but linux.namespaces has no uts namespace")
    for name in ("uidMappings", "gidMappings"):
        if linux.get(name) and not config.new("user"):
            raise ValueError(f"linux.{name} is set, but linux.namespaces asks for no new user namespace")
        if config.new("user") and not linux.get(name):
            raise ValueError(f"linux.namespaces asks for a new user namespace, but linux.{name} is empty")
    if linux.get("timeOffsets") and not config.new("time"):
        raise ValueError("linux.timeOffsets is set, but linux.namespaces asks for no new time namespace")
    persona = linux.get("personality")
    if persona and persona.get("domain") not in PERSONALITIES:
        raise ValueError(f"linux.personality.domain: {persona.get('domain')!r} is neither LINUX nor LINUX32")
    propagation = linux.get("rootfsPropagation")
    if propagation and propagation not in PROPAGATIONS:
        raise ValueError(f"linux.rootfsPropagation: {propagation!r} is not one of {', '.join(PROPAGATIONS[:4])}")
    if linux.get("mountLabel"):
        raise ValueError("linux.mountLabel is set, but SELinux labels are not supported")
    if linux.get("intelRdt"):
        raise ValueError("linux.intelRdt is set, but is not supported")
    for name in ("maskedPaths", "readonlyPaths"):
        for path in linux.get(name) or ():
            if not path.startswith("/"):
                raise ValueError(f"linux.{name}: {path!r} is not an absolute path")
    if "mount" not in namespaces and (linux.get("maskedPaths") or linux.get("readonlyPaths")):
        raise ValueError("linux.maskedPaths and linux.readonlyPaths need a mount namespace")
    for name in linux.get("sysctl") or {}:
        _check_sysctl(name.replace("/", "."), config)
    if linux.get("seccomp"):
        filters.flags(linux["seccomp"])


def _check_sysctl(name: str, config: Config) -> None:
    """A parameter that is not of one of the container's own namespaces would change the host."""
    if name.startswith("net."):
        needed = "network"
    elif name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        needed = "ipc"
    elif name in ("kernel.domainname", "kernel.hostname"):
        needed = "uts"
    elif name.startswith("user."):
        needed = "user"
    else:
        raise ValueError(f"linux.sysctl: {name} does not belong to a namespace")
    if needed not in config.namespaces:
        raise ValueError(f"linux.sysctl: {name} needs a {needed} namespace, which linux.namespaces does not have")


def _check_hooks(config: Config) -> None:
    for name in HOOKS:
        for index, hook in enumerate(config.hooks(name)):
            where = f"hooks.{name}[{index}]"
            if not str(hook.get("path") or "").startswith("/"):
                raise ValueError(f"{where}.path: {hook.get('path')!r} is not an absolute path")
            timeout = hook.get("timeout")
            if timeout is not None and timeout <= 0:
                raise ValueError(f"{where}.timeout: {timeout} is not greater than zero")


def check_process(process: dict[str, Any]) -> None:
    """ValueError naming the property of a `process` that cannot be honoured."""
    if not process.get("args"):
        raise ValueError("process.args is empty")
    if not str(process.get("cwd") or "").startswith("/"):
        raise ValueError(f"process.cwd {process.get('cwd')!r} is not an absolute path")
    if process.get("selinuxLabel"):
        raise ValueError("process.selinuxLabel is set, but SELinux labels are not supported")
    for name in ("scheduler", "ioPriority"):
        if process.get(name):
            raise ValueError(f"process.{name} is set, but is not supported")
    profile = process.get("apparmorProfile")
    if profile and profile != "unconfined" and not apparmor.enabled():
        raise ValueError(f"process.apparmorProfile {profile!r} is set, but this host has no AppArmor")
    seen = set()
    for index, entry in enumerate(process.get("rlimits") or ()):
        name = entry.get("type")
        if name not in RLIMITS:
            raise ValueError(f"process.rlimits[{index}].type: {name!r} is no resource limit")
        if name in seen:
            raise ValueError(f"process.rlimits[{index}].type: {name} is listed twice")
        seen.add(name)
        if entry.get("soft", 0) > entry.get("hard", 0):
            raise ValueError(f"process.rlimits[{index}]: soft {entry['soft']} is above hard {entry['hard']}")
    score = process.get("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        raise ValueError(f"process.oomScoreAdj: {score} is not between -1000 and 1000")
    for variable in process.get("env") or ():
        if "=" not in variable:
            raise ValueError(f"process.env: {variable!r} has no value")


def capability_sets(process: dict[str, Any]) -> tuple[CapabilitySets, list[str]]:
    """The five sets, and warnings about names that no kernel interface stands for."""
    masks, warnings = [], []
    wanted = process.get("capabilities") or {}
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        mask = 0
        for word in wanted.get(name) or ():
            number = capabilities.NUMBERS.get(word.removeprefix("CAP_"))
            if number is None:
                warnings.append(f"process.capabilities.{name}: {word!r} is not known and left out")
            else:
                mask |= 1 << number
        masks.append(mask)
    return CapabilitySets(*masks), warnings


def process_of(process: dict[str, Any], seccomp: dict[str, Any] | None) -> tuple[Process, list[str]]:
    """The process as the launcher takes it, and warnings."""
    sets, warnings = capability_sets(process)
    user = process.get("user") or {}
    env = dict(variable.split("=", 1) for variable in process.get("env") or ())
    profile = process.get("apparmorProfile") or ""
    infinity = (1 << 64) - 1
    rlimits = {}
    for entry in process.get("rlimits") or ():
        soft, hard = (-1 if entry[name] == infinity else entry[name] for name in ("soft", "hard"))
        rlimits[entry["type"]] = Rlimit(soft, hard)
    result = Process(
        argv=list(process["args"]),
        env=env,
        cwd=process["cwd"],
        uid=user.get("uid", 0),
        gid=user.get("gid", 0),
        groups=list(user.get("additionalGids") or ()),
        umask=user.get("umask"),
        sets=sets,
        no_new_privileges=bool(process.get("noNewPrivileges")),
        apparmor=profile if profile != "unconfined" else "",
        seccomp=filters.program(seccomp) if seccomp else b"",
        seccomp_flags=filters.flags(seccomp) if seccomp else 0,
        rlimits=rlimits,
        oom_score_adj=process.get("oomScoreAdj"),
    )
    return result, warnings
