"""Which controls a level in a version consists of, and what a pod violates of them."""

from collections.abc import Callable, Sequence

from services.apiserver.admission.podsecurity import baseline, restricted
from services.apiserver.admission.podsecurity.levels import BASELINE, PRIVILEGED, Demand
from services.apiserver.admission.podsecurity.wording import Complaint
from services.apiserver.protocol import Object

Control = Callable[[Object, Object, int], Complaint | None]

# in the order in which Kubernetes lists them
BASELINE_CONTROLS: tuple[Control, ...] = (
    baseline.apparmor,
    baseline.capabilities,
    baseline.host_namespaces,
    baseline.host_path,
    baseline.host_ports,
    baseline.probe_hosts,
    baseline.privileged,
    baseline.proc_mount,
    baseline.selinux,
    baseline.seccomp,
    baseline.sysctls,
    baseline.windows_host_process,
)
RESTRICTED_CONTROLS: tuple[Control, ...] = (
    restricted.escalation,
    restricted.capabilities,
    restricted.proc_mount,
    restricted.volumes,
    restricted.non_root,
    restricted.root_user,
    restricted.seccomp,
)
# restricted control -> the weaker baseline control it replaces, from which minor version on
REPLACED: dict[Control, tuple[Control, int]] = {
    restricted.capabilities: (baseline.capabilities, restricted.CAPABILITIES),
    restricted.volumes: (baseline.host_path, 0),
    restricted.seccomp: (baseline.seccomp, restricted.SECCOMP),
}


def violations(demand: Demand, metadata: Object, spec: Object) -> list[Complaint]:
    """What a pod violates of a level."""
    if demand.level == PRIVILEGED:
        return []
    found = (control(metadata, spec, demand.minor) for control in controls(demand))
    return [complaint for complaint in found if complaint is not None]


def controls(demand: Demand) -> Sequence[Control]:
    """The controls of a level above privileged."""
    if demand.level == BASELINE:
        return BASELINE_CONTROLS
    since = {control: REPLACED[control][1] if control in REPLACED else 0 for control in RESTRICTED_CONTROLS}
    added = [control for control in RESTRICTED_CONTROLS if since[control] <= demand.minor]
    replaced = {REPLACED[control][0] for control in added if control in REPLACED}
    return [*(control for control in BASELINE_CONTROLS if control not in replaced), *added]
