"""The first process of a PID namespace that a pod's containers share.

A PID namespace cannot outlive its first process, so here something has to wait; it is a program of some dozen
instructions, made as an ELF file in memory, because a forked interpreter would cost megabytes and show its memory to
the pod. It ignores SIGCHLD, which makes the kernel reap the orphans that it inherits (sigaction(2)), and then sleeps.
"""

from __future__ import annotations

import contextlib
import os
import struct

from services.nodeagent.keeper import capabilities, launch, rootfs
from shared.kernel import elf, syscalls

FLAGS = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS

# rt_sigaction(SIGCHLD, &{SIG_IGN}, 0, 8); for (;;) pause();  the sigaction lies behind the code: handler 1, then zeros
_X86_64 = bytes.fromhex(
    "bf11000000"  # mov edi, 17
    "488d351c000000"  # lea rsi, [rip+28]
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8
    "b80d000000"  # mov eax, 13 (rt_sigaction)
    "0f05"  # syscall
    "b822000000"  # loop: mov eax, 34 (pause)
    "0f05"  # syscall
    "ebf7"  # jmp loop
    "90909090"
)
_AARCH64 = struct.pack(
    "<14I",
    0xD2800220,  # mov x0, 17
    0x100001A1,  # adr x1, +52
    0xD2800002,  # mov x2, 0
    0xD2800103,  # mov x3, 8
    0xD28010C8,  # mov x8, 134 (rt_sigaction)
    0xD4000001,  # svc 0
    0xD2800000,  # loop: mov x0, 0
    0xD2800001,  # mov x1, 0
    0xD2800002,  # mov x2, 0
    0xD2800003,  # mov x3, 0
    0xD2800928,  # mov x8, 73 (ppoll: aarch64 has no pause)
    0xD4000001,  # svc 0
    0x17FFFFFA,  # b loop
    0xD503201F,  # nop
)
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def image(machine: str) -> bytes:
    """The program. KeyError for a machine whose code is not known."""
    number, code = _MACHINES[machine]
    return elf.image(number, code + struct.pack("<4Q", 1, 0, 0, 0))


def run(
    entrances: list[str],
    namespaces: list[tuple[str, int]],
    user: launch.UserNamespace | None,
    channel: launch.Channel,
) -> None:
    """In a newborn process with its own PID and mount namespaces, or one that is to get them in the user namespace:
    become the program, in an empty root without rights, so that nothing of the host can be reached through /proc/1 of
    the pod. Returns only by raising OSError."""
    channel.close_others(set())
    channel.progress("joining the control groups")
    launch.join_groups(entrances)
    launch.join_namespaces(namespaces, channel)
    if user is not None:
        launch.be_reborn(os.open(user.path, os.O_RDONLY), FLAGS, channel)
    program = elf.sealed("pause", image(os.uname().machine))
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for target in range(3):
        os.dup2(null, target, inheritable=True)
    channel.progress("making an empty root")
    syscalls.mount("", "/", "", syscalls.MS_PRIVATE | syscalls.MS_REC)
    syscalls.mount("pause", "/tmp", "tmpfs", syscalls.MS_RDONLY, "mode=555")
    rootfs.enter(os.open("/tmp", os.O_PATH | os.O_DIRECTORY))
    for number in range(len(capabilities.NAMES)):
        with contextlib.suppress(OSError):  # this kernel knows fewer
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    syscalls.capset(0, 0, 0)
    channel.progress("executing the pod's first process")
    syscalls.execveat(program, [b"pause"], [])
