"""The agent's own variables, beside those that every service reads."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.nodeagent.eviction.thresholds import EvictionSettings
from services.nodeagent.shutdown import ShutdownSettings
from shared.errors import SettingsError
from shared.settings import parse_address

KUBELET_VERSION = "v1.36.2-wherry.0.1"
RUNTIME_VERSION = "wherry://0.1"
METRICS_PORT = 10250


@dataclass(frozen=True, slots=True)
class Configuration:
    """One node's settings; times in seconds."""

    node: str
    address: str
    registry: str
    dns_address: str
    domain: str
    service_cidr: str
    pod_cidr: str
    lease_renew: float
    lease_ttl: int
    unsafe_sysctls: tuple[str, ...]
    max_pods: int
    labels: Mapping[str, str]
    metrics_address: tuple[str, int]
    eviction: EvictionSettings
    shutdown: ShutdownSettings
    static_pods: Path | None
    """Directory of static pods; None for the node's own below DATA."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Raises SettingsError naming the variable."""
        env = os.environ if environ is None else environ
        address = env.get("WHERRY_NODE_ADDRESS") or ""
        if not address:
            raise SettingsError("WHERRY_NODE_ADDRESS is not set: the node's own IP address")
        return cls(
            node=env.get("WHERRY_NODE_NAME") or socket.gethostname(),
            address=address,
            registry=env.get("WHERRY_REGISTRY") or "",
            dns_address=env.get("WHERRY_CLUSTER_DNS") or "10.96.0.10",
            domain=env.get("WHERRY_CLUSTER_DOMAIN") or "cluster.local",
            service_cidr=env.get("WHERRY_SERVICE_CIDR") or "10.96.0.0/16",
            pod_cidr=env.get("WHERRY_POD_CIDR") or "10.244.0.0/16",
            lease_renew=float(_number(env, "WHERRY_LEASE_RENEW_SECONDS", 4)),
            lease_ttl=_number(env, "WHERRY_LEASE_TTL_SECONDS", 15),
            unsafe_sysctls=tuple(filter(None, (env.get("WHERRY_UNSAFE_SYSCTLS") or "").split(","))),
            max_pods=_number(env, "WHERRY_MAX_PODS", 110),
            labels=_labels(env.get("WHERRY_NODE_LABELS") or ""),
            metrics_address=parse_address(
                "WHERRY_METRICS_ADDRESS", env.get("WHERRY_METRICS_ADDRESS") or f"{address}:{METRICS_PORT}"
            ),
            eviction=EvictionSettings.from_environment(env),
            shutdown=ShutdownSettings.from_environment(env),
            static_pods=Path(env["WHERRY_STATIC_PODS"]) if env.get("WHERRY_STATIC_PODS") else None,
        )


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) == 0:
        raise SettingsError(f"{name} {text!r} is not a positive number")
    return int(text)


def _labels(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping."""
    labels = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise SettingsError(f"WHERRY_NODE_LABELS {text!r} is not a list of name=value")
        labels[key.strip()] = value.strip()
    return labels
