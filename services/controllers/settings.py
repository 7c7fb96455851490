"""What only the controllers read from their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from pathlib import Path

from services.controllers.nodes.cidrs import NODE_PREFIX
from services.controllers.nodes.presence import FRESH_SECONDS
from shared.errors import SettingsError
from shared.identity.pki import Authority


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """The cluster's certificate authority (PEM text), the range of all pod addresses, how many seconds a node may stay
    silent in our sight before it counts as gone, and what signs certificates (None where the authority's key is kept
    from this machine: then requests wait for another signer)."""

    certificate: str
    pod_range: IPv4Network
    node_grace: float
    authority: Authority | None = None

    @classmethod
    def from_environment(cls, data: Path, environment: Mapping[str, str] | None = None) -> ControllerSettings:
        """Read WHERRY_CA (default DATA/pki/ca.crt, beside its key), WHERRY_POD_CIDR, WHERRY_NODE_GRACE_SECONDS."""
        known = os.environ if environment is None else environment
        path = Path(known.get("WHERRY_CA") or data / "pki" / "ca.crt")
        try:
            certificate = path.read_text()
        except OSError as exc:
            raise SettingsError(f"WHERRY_CA: cannot read {path}: {exc.strerror}") from exc
        return cls(
            certificate,
            _range(known.get("WHERRY_POD_CIDR") or "10.244.0.0/16"),
            _seconds(known.get("WHERRY_NODE_GRACE_SECONDS") or str(FRESH_SECONDS)),
            _authority(path),
        )


def _authority(certificate: Path) -> Authority | None:
    if not (certificate.parent / "ca.key").exists():
        return None
    try:
        return Authority.load(certificate.parent)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"WHERRY_CA: the authority in {certificate.parent} cannot be read: {exc}") from exc


def _range(text: str) -> IPv4Network:
    try:
        found = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError) as exc:
        raise SettingsError(f"WHERRY_POD_CIDR: {exc}") from exc
    if found.prefixlen > NODE_PREFIX:
        raise SettingsError(f"WHERRY_POD_CIDR: {text} is smaller than the /{NODE_PREFIX} of one node")
    return found


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError as exc:
        raise SettingsError(f"WHERRY_NODE_GRACE_SECONDS: {text!r} is not a number") from exc
    if found <= 0:
        raise SettingsError(f"WHERRY_NODE_GRACE_SECONDS: {text} is not positive")
    return found
