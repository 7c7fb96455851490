"""From a newborn process to the program: limits, working directory, seccomp, identity, capabilities, execve.

The order is forced by the kernel: the bounding set needs CAP_SETPCAP, a filter without no_new_privs CAP_SYS_ADMIN, and
changing the user drops both. What the host cannot give is reported and the program runs all the same.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import resource
import sys
from collections.abc import Callable

from services.nodeagent.keeper import capabilities
from shared.kernel import apparmor, rlimits, signals, syscalls
from shared.kernel.rlimits import Rlimit
from shared.records import field, frozen, mutable

codecs.lookup("ascii")  # a child that has given up the host's files could not load it any more

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Warn = Callable[[str], None]


class StartFailure(Exception):
    """The program cannot be started; `exit_code` is what a shell would give."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


@frozen
class CapabilitySets:
    """The five sets of capabilities(7) as bit masks, for who wants each by itself."""

    bounding: int = 0
    effective: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0


@mutable
class Process:
    """Everything about a process that is not its namespaces, with names already turned into numbers.

    `capabilities` is the bounding set, of which root has all and another user none; `sets` gives all five instead.
    `umask` None leaves the one that was inherited, `apparmor` is the profile from execve(2) on, "" for none.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    umask: int | None = 0o022
    capabilities: int = 0
    sets: CapabilitySets | None = None
    no_new_privileges: bool = False
    apparmor: str = ""
    seccomp: bytes = b""
    seccomp_flags: int = 0
    rlimits: dict[str, Rlimit] = field(default_factory=dict)
    oom_score_adj: int | None = None


def set_oom_score(value: int, warn: Warn) -> None:
    """Set /proc/self/oom_score_adj; lowering it needs CAP_SYS_RESOURCE (proc(5)), without which it stays."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(value))
    except OSError:
        warn(oom_score_refused(value))


def oom_score_refused(value: int) -> str:
    return f"oom_score_adj {value} could not be set: this node lacks CAP_SYS_RESOURCE"


def may_set_oom_score(value: int) -> bool:
    """Whether this process may give a child this oom_score_adj."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        present = int(file.read())
    return value >= present or bool(syscalls.capget()[0] >> capabilities.NUMBERS["SYS_RESOURCE"] & 1)


def set_rlimits(limits: dict[str, Rlimit], warn: Warn) -> None:
    """Set resource limits; one above what this host permits is set as high as it does."""
    for name, limit in limits.items():
        number = rlimits.number_of(name)
        if number is None:
            raise StartFailure(f"unknown resource limit {name!r}", 128)
        try:
            resource.setrlimit(number, (limit.soft, limit.hard))
        except (ValueError, OSError):
            possible = rlimits.lowered(number, limit)
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(number, (possible.soft, possible.hard))
            warn(limit_lowered(name, limit, possible))


def limit_lowered(name: str, limit: Rlimit, possible: Rlimit) -> str:
    change = f"{limit.soft}:{limit.hard} was lowered to {possible.soft}:{possible.hard}"
    return f"resource limit {name} {change}, which is what this node permits"


def change_directory(path: str, *, create: bool) -> None:
    """Enter the working directory. A descriptor that leads out of the root is refused (CVE-2024-21626)."""
    try:
        if create:
            _make_directories(path)
        os.chdir(path)
    except OSError as exc:
        code = 126 if isinstance(exc, PermissionError) else 128
        raise StartFailure(f"working directory {path!r}: {(exc.strerror or '').lower()}", code) from exc
    try:
        os.getcwd()
    except OSError as exc:
        raise StartFailure(f"working directory {path!r} is outside of the container", 128) from exc


def _make_directories(path: str) -> None:
    """As os.makedirs, but those above the last one are nobody else's to write in either."""
    if not os.path.isdir(path):
        for above in directories(path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(above, 0o755)


def directories(path: str) -> list[str]:
    """An absolute path and all above it, from the top."""
    parts = [part for part in path.split("/") if part]
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def home_of(uid: int) -> str:
    """The home directory that the container's own /etc/passwd gives the user, else "/"."""
    with contextlib.suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(":")
            if len(fields) >= 6 and fields[2] == str(uid):
                return fields[5] or "/"
    return "/"


def become(process: Process) -> None:
    """Take on the identity. Nothing that needs privilege can be done afterwards."""
    if process.apparmor:
        try:
            apparmor.confine(process.apparmor)
        except OSError as exc:
            problem = "it is not loaded" if exc.errno == errno.ENOENT else (exc.strerror or str(exc)).lower()
            raise StartFailure(f"AppArmor profile {process.apparmor}: {problem}", 128) from exc
    sets = process.sets or CapabilitySets(process.capabilities, process.capabilities, process.capabilities)
    for number in range(len(capabilities.NAMES)):
        if not sets.bounding >> number & 1:
            with contextlib.suppress(OSError):  # this kernel knows fewer
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    os.setgroups(process.groups)
    filter_last = process.sets is not None and process.no_new_privileges  # it may deny what comes between
    if process.seccomp and not filter_last:
        syscalls.seccomp_filter(process.seccomp, process.seccomp_flags)
    if process.sets is not None:
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    os.setresgid(process.gid, process.gid, process.gid)
    os.setresuid(process.uid, process.uid, process.uid)
    if process.umask is not None:
        os.umask(process.umask)
    held = syscalls.capget()[1]
    permitted = held & sets.permitted
    syscalls.capset(permitted & sets.effective, permitted, held & sets.inheritable)
    for number in range(len(capabilities.NAMES)):
        if sets.ambient >> number & 1:
            with contextlib.suppress(OSError):  # not permitted and inheritable as well
                syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)
    if process.seccomp and filter_last:
        syscalls.seccomp_filter(process.seccomp, process.seccomp_flags)


_WITHOUT_FILES = ("BuiltinImporter", "FrozenImporter")


def stop_importing() -> None:
    """Load no module from a file any more: behind the container's root it would be the container's file, run with this
    process's privileges. To be called before the root or the mount namespace is changed."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in _WITHOUT_FILES]


_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as the host permits; its children are given the old limit back."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_descriptors[1], _descriptors[1]))


def reset() -> None:
    """Undo what execve(2) would hand on: Python's ignored SIGPIPE, handlers, any mask, the raised limit."""
    resource.setrlimit(resource.RLIMIT_NOFILE, _descriptors)
    for name in (signals.SIGPIPE, signals.SIGXFSZ, signals.SIGINT, signals.SIGTERM):
        signals.signal(name, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, ())


def candidates(program: str, search: str) -> list[str]:
    """Where to look for a program, in order; a name with a slash is looked for nowhere else."""
    if "/" in program:
        return [program]
    return [f"{directory or '.'}/{program}" for directory in search.split(":")]


def find_program(process: Process) -> None:
    """StartFailure if nothing that could be executed is where `execute` will look, from the working directory."""
    program = process.argv[0]
    found = [path for path in candidates(program, process.env.get("PATH", DEFAULT_PATH)) if os.path.isfile(path)]
    if any(os.access(path, os.X_OK) for path in found):
        return
    if found:
        raise StartFailure(f'exec: "{program}": permission denied', 126)
    if "/" in program:
        raise StartFailure(f'exec: "{program}": stat {program}: no such file or directory', 127)
    raise StartFailure(f'exec: "{program}": executable file not found in $PATH', 127)


def execute(process: Process) -> None:
    """Replace this process by the program. StartFailure with the words and codes that users of runc and Docker know."""
    program = process.argv[0]
    denied: OSError | None = None
    missing: OSError | None = None
    for path in candidates(program, process.env.get("PATH", DEFAULT_PATH)):
        try:
            os.execve(path, process.argv, process.env)
        except (FileNotFoundError, NotADirectoryError) as exc:
            missing = missing or (exc if os.path.exists(path) else None)
        except PermissionError as exc:
            denied = denied or exc
        except OSError as exc:
            if exc.errno == errno.ENOEXEC:
                raise StartFailure(f'exec: "{path}": exec format error', 126) from exc
            raise StartFailure(f'exec: "{path}": {(exc.strerror or "").lower()}', 126) from exc
    if denied is not None:
        raise StartFailure(f'exec: "{program}": permission denied', 126)
    if missing is not None:  # the file is there, but not its interpreter
        raise StartFailure(f'exec: "{program}": interpreter not found: no such file or directory', 127)
    if "/" in program:
        raise StartFailure(f'exec: "{program}": stat {program}: no such file or directory', 127)
    raise StartFailure(f'exec: "{program}": executable file not found in $PATH', 127)
