"""Which resolvers the machine uses, as resolv.conf(5) says, followed when the file changes."""

import ipaddress
import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_DEFAULT = Path("/etc/resolv.conf")
# where systemd-resolved lists the resolvers behind its own address 127.0.0.53
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")


def nameservers(text: str) -> list[str]:
    """The IPv4 addresses of the `nameserver` lines."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append(str(ipaddress.IPv4Address(words[1])))
            except ValueError:
                continue
    return found


class ResolvConf:
    """The upstream resolvers of this machine, without loopback addresses: those lead elsewhere in a node's
    namespace.
    """

    def __init__(self, path: Path = _DEFAULT, *, fallback: Path = _RESOLVED) -> None:
        self._paths = (path, fallback)
        self._seen: tuple[float, float] | None = None
        self._found: list[str] = []

    def __call__(self) -> list[str]:
        """The resolvers in the order of the file; read again only when it changed."""
        seen = (_changed(self._paths[0]), _changed(self._paths[1]))
        if seen != self._seen:
            self._seen = seen
            self._found = self._read()
        return self._found

    def _read(self) -> list[str]:
        for path in self._paths:
            try:
                found = [item for item in nameservers(path.read_text()) if not ipaddress.ip_address(item).is_loopback]
            except OSError:
                continue
            if found:
                return found
        log.warning("%s names no resolver that is reachable from here: only cluster names resolve", self._paths[0])
        return []


def _changed(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


Upstreams = Callable[[], list[str]]
