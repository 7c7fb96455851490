"""Whether the node can take a pod: the last word after the scheduler, whose view may have been a moment old. Pure.

Source: kubelet's admission (OutOfcpu, OutOfmemory, OutOfpods ...).
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from services.nodeagent.pods import apparmor, specs
from shared.objects import quantities
from shared.objects.hostports import clash, host_ports

Rejection = tuple[str, str]

# Kubernetes, "Using sysctls in a cluster": they belong to the pod's namespaces and hurt nobody else
SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
RESOURCES = ("cpu", "memory", "ephemeral-storage")


def admit(
    pod: Mapping[str, Any], others: Iterable[Mapping[str, Any]], allocatable: Mapping[str, str]
) -> Rejection | None:
    """(reason, message) if there is no room for `pod` beside `others`, the pods that hold resources already."""
    present = list(others)
    if len(present) + 1 > int(allocatable["pods"]):
        return "OutOfpods", _message("pods", 1, len(present), int(allocatable["pods"]))
    ports = host_ports(pod["spec"])
    if ports and any(clash(ports, host_ports(other["spec"])) for other in present):
        what = "node(s) didn't have free ports for the requested pod ports"
        return "NodePorts", f"Predicate NodePorts failed: {what}"
    for name in RESOURCES:
        requested = request(pod, name)
        if not requested:
            continue
        used = sum(request(other, name) for other in present)
        room = quantities.milli(allocatable[name])
        if used + requested > room:
            amounts = (shown(name, amount) for amount in (requested, used, room))
            return f"OutOf{name}", _message(name, *amounts)
    return None


def secure(
    pod: Mapping[str, Any], allowed_unsafe: Sequence[str] = (), *, has_apparmor: bool = False
) -> Rejection | None:
    """(reason, message) if the pod asks for protection or devices that this node has not, or for parameters it refuses.

    `allowed_unsafe` are names, or prefixes with `*` at their end, that the node's owner permits besides the safe ones;
    `has_apparmor` tells whether its kernel confines by AppArmor.
    """
    spec = pod["spec"]
    if spec.get("resourceClaims"):
        return "UnexpectedAdmissionError", "spec.resourceClaims is not supported: this cluster allocates no devices"
    context = spec.get("securityContext") or {}
    for entry in context.get("sysctls") or ():
        name = entry["name"].replace("/", ".")
        if name not in SAFE_SYSCTLS and not any(fnmatchcase(name, pattern) for pattern in allowed_unsafe):
            return "SysctlForbidden", f'forbidden sysctl: "{entry["name"]}" not allowlisted'
    containers = (*specs.init_containers(pod), *specs.app_containers(pod))
    profiles = [apparmor.wanted(pod, one) for one in containers]
    if not has_apparmor and any(one not in (None, apparmor.UNCONFINED) for one in profiles):
        return "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"
    return None


def request(pod: Mapping[str, Any], name: str) -> int:
    """What a pod requests, in thousandths: sidecars and apps together, or a larger init container beside the sidecars
    that were started before it (KEP-753).
    """
    running, peak = 0, 0
    for spec in specs.init_containers(pod):
        amount = _request(spec, name)
        if specs.is_sidecar(spec):
            running += amount
            peak = max(peak, running)
        else:
            peak = max(peak, running + amount)
    total = running + sum(_request(spec, name) for spec in specs.app_containers(pod))
    whole = ((pod["spec"].get("resources") or {}).get("requests") or {}).get(name)
    own = max(total, peak) if whole is None else quantities.milli(str(whole))
    return own + quantities.milli(str((pod["spec"].get("overhead") or {}).get(name, "0")))


def shown(name: str, milli: int) -> int:
    """An amount as messages tell it: thousandths of cores, but whole bytes."""
    return milli if name == "cpu" else milli // 1000


def _request(spec: Mapping[str, Any], name: str) -> int:
    return quantities.milli(str(((spec.get("resources") or {}).get("requests") or {}).get(name, "0")))


def _message(name: str, requested: int, used: int, capacity: int) -> str:
    return f"Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
