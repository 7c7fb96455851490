"""Which sandbox has which pod address, on disk.

Exists because the agent may be killed at any instant: an address is a file named after it, claimed by making it, which
fails if the name exists. One that was made and not written is that of an attempt that nobody was told of, and `load`
removes it. Files are not synced, for after a power failure no sandbox is left to which an address could belong.
"""

import contextlib
import ipaddress
import json
import logging
import os
from collections.abc import Container
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import NetworkError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to a pod; `protocol` is TCP, UDP or SCTP, `host_ip` "" for every address."""

    protocol: str
    host_port: int
    pod_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """An address that belongs to a sandbox, and the host's name of its veth."""

    sandbox: str
    address: str
    link: str
    host_ports: tuple[HostPort, ...] = ()


def next_free(network: ipaddress.IPv4Network, taken: Container[str], after: str) -> str | None:
    """The next free host address after `after`, round and round; the network's first address is the gateway's.

    Going round keeps a released address unused for as long as possible, as others may still know it.
    """
    first, last = int(network[2]), int(network[-2])
    start = int(ipaddress.IPv4Address(after)) + 1 if after else first
    if not first <= start <= last:
        start = first
    for number in (*range(start, last + 1), *range(first, start)):
        address = str(ipaddress.IPv4Address(number))
        if address not in taken:
            return address
    return None


class Leases:
    """The leases of one node. Not safe for several threads at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._by_sandbox: dict[str, Lease] = {}
        self._taken: set[str] = set()
        self._latest = ""

    def load(self) -> None:
        """Read the directory; what a crash left half done is removed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._by_sandbox.clear()
        self._taken.clear()
        newest = 0.0
        for entry in os.scandir(self._directory):
            lease = None if entry.name.startswith(".") else _read(Path(entry.path))
            if lease is None or lease.sandbox in self._by_sandbox:
                os.unlink(entry.path)
                continue
            self._by_sandbox[lease.sandbox] = lease
            self._taken.add(lease.address)
            if entry.stat().st_mtime > newest:
                newest, self._latest = entry.stat().st_mtime, lease.address

    def get(self, sandbox: str) -> Lease | None:
        """The lease of a sandbox."""
        return self._by_sandbox.get(sandbox)

    def all(self) -> list[Lease]:
        """Every lease."""
        return list(self._by_sandbox.values())

    def claim(
        self,
        sandbox: str,
        network: ipaddress.IPv4Network,
        link: str,
        *,
        address: str | None = None,
        host_ports: tuple[HostPort, ...] = (),
    ) -> Lease:
        """Give the sandbox an address (this one, if given); NetworkError if it is taken or none is free."""
        if address is None:
            address = next_free(network, self._taken, self._latest)
            if address is None:
                raise NetworkError(f"no free address in {network}")
        elif not _usable(network, address):
            raise NetworkError(f"address {address} is not a host address of {network}")
        lease = Lease(sandbox, address, link, host_ports)
        try:
            fd = os.open(self._directory / address, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError as exc:
            raise NetworkError(f"address {address} is taken") from exc
        try:
            os.write(fd, json.dumps(asdict(lease)).encode())
        finally:
            os.close(fd)
        self._by_sandbox[sandbox] = lease
        self._taken.add(address)
        self._latest = address
        return lease

    def release(self, sandbox: str) -> None:
        """Free the address of a sandbox; idempotent."""
        lease = self._by_sandbox.pop(sandbox, None)
        if lease is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._directory / lease.address)
            self._taken.discard(lease.address)


def _usable(network: ipaddress.IPv4Network, address: str) -> bool:
    try:
        number = int(ipaddress.IPv4Address(address))
    except ValueError:
        return False
    return int(network[2]) <= number <= int(network[-2])


def _read(path: Path) -> Lease | None:
    try:
        values = json.loads(path.read_text())
        ports = tuple(HostPort(**port) for port in values.pop("host_ports"))
        lease = Lease(host_ports=ports, **values)
    except (ValueError, TypeError, KeyError, AttributeError):
        log.warning("address lease %s is unreadable and is dropped", path)
        return None
    return lease if lease.address == path.name else None
