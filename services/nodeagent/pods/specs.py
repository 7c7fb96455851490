"""Reading a pod's spec: which containers there are, which kind each is, and when one is started again.

Source: KEP-753 (sidecars), KEP-5307 (container restart rules), Kubernetes "Pod lifecycle".
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.nodeagent.pods.records import Termination

DEFAULT_GRACE_S = 30.0


def init_containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(pod["spec"].get("initContainers") or ())


def app_containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(pod["spec"].get("containers") or ())


def ephemeral_containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(pod["spec"].get("ephemeralContainers") or ())


def every_container(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Init, app and ephemeral containers, in that order."""
    yield from init_containers(pod)
    yield from app_containers(pod)
    yield from ephemeral_containers(pod)


def container_spec(pod: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return next((spec for spec in every_container(pod) if spec["name"] == name), None)


def is_sidecar(spec: Mapping[str, Any]) -> bool:
    """Whether an init container is a restartable one (KEP-753)."""
    return spec.get("restartPolicy") == "Always"


def restart_policy(pod: Mapping[str, Any]) -> str:
    return str(pod["spec"].get("restartPolicy") or "Always")


def grace_seconds(pod: Mapping[str, Any]) -> float:
    value = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE_S if value is None else float(value)


def comes_back_after_failure(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether a container that is killed because it failed is started again, as far as one can tell beforehand."""
    return (spec.get("restartPolicy") or restart_policy(pod)) != "Never"


def restarts(pod: Mapping[str, Any], spec: Mapping[str, Any], ended: Termination) -> bool:
    """Whether an app container that ended like this is started again."""
    policy = spec.get("restartPolicy") or restart_policy(pod)
    if (ruled := _ruled(spec, ended)) is not None:
        return ruled
    return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)


def _ruled(spec: Mapping[str, Any], ended: Termination) -> bool | None:
    """What the first restart rule that applies says (KEP-5307), None if none does."""
    for rule in spec.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        listed = ended.exit_code in (codes.get("values") or ())
        if listed == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    return None


def restarts_init(pod: Mapping[str, Any], spec: Mapping[str, Any], ended: Termination | None = None) -> bool:
    """Whether an ordinary init container that failed is tried again."""
    if ended is not None and (ruled := _ruled(spec, ended)) is not None:
        return ruled
    return (spec.get("restartPolicy") or restart_policy(pod)) != "Never"


def spec_hash(spec: Mapping[str, Any]) -> str:
    """Changes when a running container has to be replaced: its image is the only such field that a pod may change."""
    identity = json.dumps([spec["name"], spec.get("image", "")])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def qos_class(pod: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, from the cpu and memory of all containers."""
    known = (pod.get("status") or {}).get("qosClass")
    if known:
        return str(known)
    requests_seen = False
    guaranteed = True
    for spec in (*init_containers(pod), *app_containers(pod)):
        resources = spec.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            requested, limit = requests.get(name), limits.get(name)
            requests_seen = requests_seen or not _is_zero(requested) or not _is_zero(limit)
            if _is_zero(limit) or (requested is not None and str(requested) != str(limit)):
                guaranteed = False
    if not requests_seen:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _is_zero(quantity: object) -> bool:
    return quantity is None or str(quantity) in ("", "0")


def place(pod: Mapping[str, Any]) -> str:
    """The pod as kubelet's texts name it: `name_namespace(uid)`."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def generation(pod: Mapping[str, Any]) -> int:
    return int(pod["metadata"].get("generation") or 0)


def is_host_network(pod: Mapping[str, Any]) -> bool:
    return bool(pod["spec"].get("hostNetwork"))
