"""Variables that an earlier container of the pod has written to a file of a volume (KEP-3721, fileKeyRef).

The file is read by the agent, which is root, and written by a container: it is opened beneath the volume without
following any link, and no more of it is read than a process could be given.
"""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from services.nodeagent.environment import ConfigurationError
from shared.kernel import syscalls

# Linux's limit for one string of the environment (execve(2), MAX_ARG_STRLEN); a file of such variables stays below it
MOST_BYTES = 128 << 10
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def read(volumes: Mapping[str, Path], volume: str, path: str) -> Mapping[str, str] | None:
    """The variables in a file of a volume, None if there is no such file. Raises ConfigurationError naming the file."""
    if volume not in volumes:
        raise ConfigurationError(f'fileKeyRef names volume "{volume}", which does not exist')
    place = f'file "{path}" of volume "{volume}"'
    try:
        directory = os.open(volumes[volume], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise ConfigurationError(f"{place} cannot be read: {exc.strerror}") from exc
    try:
        how = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_SYMLINKS
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        with open(syscalls.openat2(directory, path, flags, resolve=how), "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        why = "it is a link, or outside the volume" if exc.errno in (errno.ELOOP, errno.EXDEV) else exc.strerror
        raise ConfigurationError(f"{place} cannot be read: {why}") from exc
    finally:
        os.close(directory)
    if len(data) > MOST_BYTES:
        raise ConfigurationError(f"{place} is larger than {MOST_BYTES} bytes")
    try:
        return parse(data.decode())
    except ValueError as exc:
        raise ConfigurationError(f"{place}: {exc}") from exc


def parse(text: str) -> dict[str, str]:
    """NAME=value lines; values may be quoted; empty lines and comments are passed over. ValueError names the line."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise ValueError(f"line {number} is not of the form NAME=value")
        value = match[2]
        if value[:1] in ("'", '"'):
            if len(value) < 2 or value[-1] != value[0] or value[0] in value[1:-1]:
                raise ValueError(f"line {number} has an open quote")
            value = value[1:-1]
        found[match[1]] = value
    return found
