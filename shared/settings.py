"""The environment of a process, read once into a frozen value, so that a wrong variable is named at the start and not
found in the middle of the work."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shared.errors import SettingsError

CLUSTER_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")


@dataclass(frozen=True, slots=True)
class BusSettings:
    """How to reach the broker: `url` tls://host:port or nats://host:port, several of a replicated one joined by commas;
    `ca` a PEM file or None for plain TCP."""

    url: str
    user: str
    password: str
    ca: Path | None = None

    @property
    def servers(self) -> list[str]:
        """The URL of each server."""
        return self.url.split(",")


@dataclass(frozen=True, slots=True)
class Settings:
    """What every service process knows about its cluster and its node."""

    data: Path
    run: Path
    cluster: str
    bus_url: str
    bus_ca: Path | None
    bus_credentials: Path
    log_level: str
    metrics_address: tuple[str, int] | None
    bus_replicas: int = 1

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings in WHERRY_* variables. SettingsError names the variable that cannot be used."""
        env = os.environ if environ is None else environ
        cluster = env.get("WHERRY_CLUSTER") or "wherry"
        if not CLUSTER_NAME.fullmatch(cluster):
            raise SettingsError(f"WHERRY_CLUSTER {cluster!r} is not one to eight of a-z and 0-9 starting with a letter")
        data = Path(env.get("WHERRY_DATA") or "/var/lib/wherry")
        default_run = "/run/wherry" if cluster == "wherry" else f"/run/wherry-{cluster}"
        level = (env.get("WHERRY_LOG_LEVEL") or "INFO").upper()
        if level not in logging.getLevelNamesMapping():
            raise SettingsError(f"WHERRY_LOG_LEVEL {level!r} is not a level of logging")
        url = env.get("WHERRY_BUS_URL") or "tls://10.89.0.1:4222"
        for server in url.split(","):
            if not server.startswith(("tls://", "nats://")):
                raise SettingsError(f"WHERRY_BUS_URL {server!r} does not start with tls:// or nats://")
        replicas = env.get("WHERRY_BUS_REPLICAS") or "1"
        if replicas not in ("1", "3", "5"):
            raise SettingsError(f"WHERRY_BUS_REPLICAS {replicas!r} is not 1, 3 or 5")
        ca = env.get("WHERRY_BUS_CA") or (str(data / "pki" / "ca.crt") if url.startswith("tls://") else "")
        address = env.get("WHERRY_METRICS_ADDRESS")
        return cls(
            data=data,
            run=Path(env.get("WHERRY_RUN") or default_run),
            cluster=cluster,
            bus_url=url,
            bus_ca=Path(ca) if ca else None,
            bus_credentials=Path(env.get("WHERRY_BUS_CREDENTIALS") or data / "bus" / "credentials" / "admin.json"),
            log_level=level,
            metrics_address=parse_address("WHERRY_METRICS_ADDRESS", address) if address else None,
            bus_replicas=int(replicas),
        )

    def bus(self) -> BusSettings:
        """The broker's address with the credentials of this process. SettingsError if their file is unusable."""
        try:
            credentials = json.loads(self.bus_credentials.read_text())
            return BusSettings(self.bus_url, credentials["user"], credentials["password"], self.bus_ca)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise SettingsError(f"bus credentials {self.bus_credentials} cannot be used: {exc!r}") from exc


def parse_address(name: str, text: str) -> tuple[str, int]:
    """`host:port` as a pair; `name` is the variable that an error mentions."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{name} {text!r} is not host:port")
    return host.strip("[]"), int(port)
