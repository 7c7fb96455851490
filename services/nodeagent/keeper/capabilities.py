"""Which capabilities a container's processes may ever have: Docker's default set, changed by the Pod's add and drop.

Numbers are those of linux/capability.h. A capability this host itself lacks (CAP_SYS_RESOURCE in many virtual machines)
cannot be given and is left out.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from services.nodeagent.runtime.model import Capabilities

NAMES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

DEFAULT = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)


def _named(words: list[str]) -> set[str]:
    names: set[str] = set()
    for word in words:
        name = word.upper().removeprefix("CAP_")
        if name == "ALL":
            names.update(NAMES)
        elif name in NUMBERS:
            names.add(name)
        else:
            raise ValueError(f"unknown capability {word!r}")
    return names


def granted(changes: Capabilities, *, privileged: bool) -> frozenset[str]:
    """The set a container gets. What is both added and dropped is dropped unless `ALL` was: then additions win, as
    Docker and containerd have it. ValueError naming an unknown capability."""
    added, dropped = _named(changes.add), _named(changes.drop)
    base = frozenset(NAMES) if privileged else DEFAULT
    if len(dropped) == len(NAMES):
        return frozenset(added) if len(added) < len(NAMES) else frozenset()
    return (base | added) - dropped


def mask(names: frozenset[str]) -> int:
    """The bit mask of capset(2)."""
    return sum(1 << NUMBERS[name] for name in names)
