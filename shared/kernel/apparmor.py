"""AppArmor as this machine has it: whether it is on, which profiles are loaded, and the profile of ordinary containers.

The profile grants what Docker's does: everything but mounting, writing to what is the kernel's in /proc and /sys, and
signals and tracing across its border. It needs no file of /etc/apparmor.d.

Source: apparmor.d(5), apparmor_parser(8), the kernel's Documentation/admin-guide/LSM/apparmor.rst.
"""

from __future__ import annotations

import os

ENABLED = "/sys/module/apparmor/parameters/enabled"
PROFILES = "/sys/kernel/security/apparmor/profiles"
PARSER = "apparmor_parser"
PARSER_LIMIT_S = 60.0
DEFAULT = "wherry-default"
DEFAULT_TEXT = f"""
profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  unix,

  signal (receive) peer=unconfined,
  signal (send,receive) peer={DEFAULT},
  ptrace (trace,read,tracedby,readby) peer={DEFAULT},

  deny mount,
  deny /proc/* w,
  deny /proc/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}}/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def enabled() -> bool:
    """Whether the kernel confines by AppArmor."""
    try:
        with open(ENABLED, encoding="ascii") as file:
            return file.read().startswith("Y")
    except OSError:
        return False


def is_loaded(name: str) -> bool:
    """Whether the kernel has a profile; False also where the list of profiles cannot be read."""
    try:
        with open(PROFILES, encoding="utf-8", errors="replace") as file:
            return any(line.rpartition(" (")[0] == name for line in file)  # each is `NAME (MODE)`
    except OSError:
        return False


def load_default() -> str:
    """Load the profile of ordinary containers, or again if it is; why that cannot be done, or ""."""
    import shutil  # the keeper, which only confines, need not pay for these
    import subprocess

    if shutil.which(PARSER) is None:
        return f"{PARSER} is missing on this node (Debian: apt-get install apparmor)"
    try:
        answer = subprocess.run(
            [PARSER, "--replace", "--skip-cache"],
            input=DEFAULT_TEXT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PARSER_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{PARSER} cannot be run: {exc}"
    if answer.returncode:
        return f"{PARSER} failed with status {answer.returncode}: {' '.join(answer.stderr.split())}"
    return "" if is_loaded(DEFAULT) else f"{PROFILES} does not list it: is securityfs mounted?"


def confine(profile: str) -> None:
    """Let the program that this process executes next run under a profile. OSError as the kernel refuses: ENOENT if it
    is not loaded."""
    for path in ("/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"):
        if os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"exec {profile}")
            return
    raise OSError("this kernel has no AppArmor, or /proc is not the kernel's")
