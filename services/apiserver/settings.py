"""What the API server reads from its environment, checked once at the start."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.apiserver.audit.batching import Batching
from services.apiserver.audit.logfile import Limits
from shared.errors import SettingsError
from shared.state.streams import HISTORY_REVISIONS, HISTORY_S


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The policy's file, and where events go: `webhook` is the kubeconfig of whom they are sent to as well."""

    policy: Path
    log: Path
    limits: Limits
    webhook: Path | None = None
    batching: Batching = field(default_factory=Batching)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], data: Path) -> "AuditSettings | None":
        """Read WHERRY_AUDIT_POLICY_FILE, WHERRY_AUDIT_LOG_PATH and WHERRY_AUDIT_LOG_MAXSIZE (MiB), _MAXBACKUP (files)
        and _MAXAGE (days), WHERRY_AUDIT_WEBHOOK_CONFIG_FILE and WHERRY_AUDIT_WEBHOOK_BATCH_BUFFER_SIZE and _MAX_SIZE
        (events), _MAX_WAIT and WHERRY_AUDIT_WEBHOOK_INITIAL_BACKOFF (seconds); None without a policy."""
        policy = environment.get("WHERRY_AUDIT_POLICY_FILE")
        if not policy:
            return None
        limits = Limits(
            _number(environment, "WHERRY_AUDIT_LOG_MAXSIZE", 100, least=1) << 20,
            _number(environment, "WHERRY_AUDIT_LOG_MAXBACKUP", 10),
            _number(environment, "WHERRY_AUDIT_LOG_MAXAGE", 30),
        )
        batching = Batching(
            _number(environment, "WHERRY_AUDIT_WEBHOOK_BATCH_BUFFER_SIZE", 10_000, least=1),
            _number(environment, "WHERRY_AUDIT_WEBHOOK_BATCH_MAX_SIZE", 400, least=1),
            _number(environment, "WHERRY_AUDIT_WEBHOOK_BATCH_MAX_WAIT", 30, least=1),
            _number(environment, "WHERRY_AUDIT_WEBHOOK_INITIAL_BACKOFF", 10, least=1),
        )
        webhook = environment.get("WHERRY_AUDIT_WEBHOOK_CONFIG_FILE")
        return cls(
            Path(policy),
            Path(environment.get("WHERRY_AUDIT_LOG_PATH") or data / "log" / "audit.log"),
            limits,
            Path(webhook) if webhook else None,
            batching,
        )


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Addresses are (host, port) pairs; the toleration is in seconds.

    Of the history of an object, `history_revisions` revisions are kept at most, and superseded ones `history_seconds`.
    `bus_store` is where the broker keeps its files, if that is on this machine.
    """

    data: Path
    addresses: tuple[tuple[str, int], ...]
    advertise: tuple[str, int]
    not_ready_toleration: int
    service_network: ipaddress.IPv4Network
    node_ports: range
    history_revisions: int = HISTORY_REVISIONS
    history_seconds: int = HISTORY_S
    bus_store: Path | None = None
    audit: AuditSettings | None = None
    static_tokens: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ApiSettings":
        """Read WHERRY_DATA, WHERRY_API_ADDRESSES, WHERRY_API_ADVERTISE, WHERRY_NOT_READY_TOLERATION_SECONDS,
        WHERRY_HISTORY_REVISIONS, WHERRY_HISTORY_SECONDS, WHERRY_BUS_STORE, WHERRY_TOKEN_AUTH_FILE, and what
        AuditSettings reads.

        A variable that is empty counts as one that is not set; SettingsError names one that cannot be used. The
        advertised address is the first one that is not on the loopback interface unless it is given.
        """
        text = environment.get("WHERRY_API_ADDRESSES") or "127.0.0.1:6443"
        addresses = tuple(_address("WHERRY_API_ADDRESSES", part.strip()) for part in text.split(",") if part.strip())
        if not addresses:
            raise SettingsError("WHERRY_API_ADDRESSES names no address")
        data = Path(environment.get("WHERRY_DATA") or "/var/lib/wherry")
        reachable = [one for one in addresses if not ipaddress.ip_address(one[0]).is_loopback]
        advertised = environment.get("WHERRY_API_ADVERTISE", "")
        return cls(
            data=data,
            addresses=addresses,
            advertise=_address("WHERRY_API_ADVERTISE", advertised) if advertised else (reachable or addresses)[0],
            not_ready_toleration=_number(environment, "WHERRY_NOT_READY_TOLERATION_SECONDS", 30),
            service_network=_network(environment, "WHERRY_SERVICE_CIDR", "10.96.0.0/16"),
            node_ports=range(30000, 32768),
            bus_store=Path(environment.get("WHERRY_BUS_STORE") or data / "bus"),
            history_revisions=_number(environment, "WHERRY_HISTORY_REVISIONS", HISTORY_REVISIONS, least=1),
            history_seconds=_number(environment, "WHERRY_HISTORY_SECONDS", HISTORY_S),
            audit=AuditSettings.from_environment(environment, data),
            static_tokens=Path(given) if (given := environment.get("WHERRY_TOKEN_AUTH_FILE")) else None,
        )


def _address(variable: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        host, port = text, "6443"
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError as exc:
        raise SettingsError(f"{variable}: {host!r} is not an IP address") from exc
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{variable}: {port!r} is not a port")
    return host, int(port)


def _network(environment: Mapping[str, str], variable: str, default: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(environment.get(variable) or default)
    except ValueError as exc:
        raise SettingsError(f"{variable}: {exc}") from exc


def _number(environment: Mapping[str, str], variable: str, default: int, least: int = 0) -> int:
    """A whole number; a variable that is empty counts as one that is not set."""
    text = environment.get(variable) or str(default)
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise SettingsError(f"{variable}: {text!r} is not a whole number of at least {least}")
    return int(text)
