"""criu(8) on this machine: whether it can checkpoint and restore, as it tells itself, and what it calls open files."""

from __future__ import annotations

import os

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHECK_LIMIT_S = 120.0

_good: set[tuple[str, float]] = set()


def program() -> str:
    """The path of criu, or "" if it is not installed."""
    candidates = (f"{directory}/criu" for directory in PATH.split(":"))
    return next((path for path in candidates if os.access(path, os.X_OK)), "")


def environment() -> dict[str, str]:
    return {"PATH": PATH, "LC_ALL": "C"}


def why_not() -> str:
    """Why criu cannot work here, or "". It blocks; that a program works is found out once."""
    import subprocess  # what only asks for the program's path need not pay for it

    path = program()
    if not path:
        return "criu is not installed (Debian: apt-get install criu)"
    known = (path, os.stat(path).st_mtime)
    if known in _good:
        return ""
    try:
        answer = subprocess.run(
            [path, "check"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHECK_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"`criu check` cannot be run: {exc}"
    if answer.returncode == 0:
        _good.add(known)
        return ""
    lines = [line for line in answer.stderr.splitlines() if line.startswith("Error")]
    return f"criu cannot work with this kernel; `criu check` says: {lines[0] if lines else 'nothing'}"


def file_name(path: str) -> str:
    """How criu names the file at `path` when it is open in a container: by mount and inode, in hexadecimal digits."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            values = dict(line.split(":", 1) for line in file)
        return f"file[{int(values['mnt_id']):x}:{os.fstat(fd).st_ino:x}]"
    finally:
        os.close(fd)
