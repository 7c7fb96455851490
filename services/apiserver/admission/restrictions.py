"""What a node may write, beyond which object it is: itself under its own name, no taints and no labels that others
place pods by, and no labels of its pods (the NodeRestriction plugin of Kubernetes)."""

from collections.abc import Iterable

from services.apiserver import strategies
from services.apiserver.admission.serviceaccounts import MIRROR
from services.apiserver.auth.nodes import references
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from shared.identity.users import User
from shared.objects.registry import Resource

NODES = ("", "nodes")
OWN_NAME = (NODES, ("coordination.k8s.io", "leases"))
# of the labels under kubernetes.io and k8s.io, a node may only set those that it alone knows (well-known to kubelet)
OWN_LABELS = frozenset(
    {
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)
OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
RESERVED_DOMAINS = ("kubernetes.io", "k8s.io")
# what `references` yields for sources that are not there
_NAMELESS = frozenset({("secrets", ""), ("configmaps", ""), ("persistentvolumeclaims", "")})


def check_create(user: User, resource: Resource, obj: Object) -> None:
    """Forbidden if a node creates what bears another name, labels itself with what is not its own to give, or makes any
    pod but the mirror of a static one of its own."""
    node, name = user.node, obj["metadata"].get("name", "")
    if node is None:
        return
    if strategies.key(resource) == ("", "pods"):
        _check_mirror(node, resource, obj)
    if strategies.key(resource) not in OWN_NAME:
        return
    if name != node:
        raise forbidden(resource, name, f"node '{node}' may only create {resource.plural} of its own name")
    if strategies.key(resource) == NODES:
        foreign = _foreign(obj["metadata"].get("labels") or {})
        if foreign:
            raise forbidden(resource, name, f'node "{node}" is not allowed to set the following labels: {foreign}')


def check_update(user: User, resource: Resource, obj: Object, old: Object) -> None:
    """Forbidden if a node moves its pod into or out of somebody's selector, changes by what pods are kept off it, or
    changes more of a volume than its finalizers."""
    node, name = user.node, old["metadata"]["name"]
    if node is None:
        return
    if strategies.key(resource) == ("", "persistentvolumes") and obj.get("spec") != old.get("spec"):
        raise forbidden(resource, name, f"node '{node}' cannot change the spec of volumes")
    if strategies.key(resource) == ("", "pods"):
        if obj["metadata"].get("labels") != old["metadata"].get("labels"):
            raise forbidden(resource, name, f"node '{node}' cannot update labels through pod status")
    elif strategies.key(resource) == NODES:
        if _taints(obj) != _taints(old):
            raise forbidden(resource, name, f'node "{node}" is not allowed to modify taints')
        labels, before = obj["metadata"].get("labels") or {}, old["metadata"].get("labels") or {}
        foreign = _foreign(key for key in {**labels, **before} if labels.get(key) != before.get(key))
        if foreign:
            raise forbidden(resource, name, f"is not allowed to modify labels: {foreign}")


def _check_mirror(node: str, resource: Resource, pod: Object) -> None:
    name, spec = pod["metadata"].get("name", ""), pod.get("spec") or {}
    if MIRROR not in (pod["metadata"].get("annotations") or {}):
        raise forbidden(
            resource, name, f"pod does not have \"{MIRROR}\" annotation, node '{node}' can only create mirror pods"
        )
    if spec.get("nodeName") != node:
        raise forbidden(resource, name, f"node '{node}' can only create pods with spec.nodeName set to itself")
    owners = pod["metadata"].get("ownerReferences") or []
    if any(owner.get("kind") != "Node" or owner.get("name") != node for owner in owners):
        raise forbidden(resource, name, f"node '{node}' can only create pods with an owner reference set to itself")
    if spec.get("serviceAccountName"):
        raise forbidden(resource, name, f"node '{node}' can not create pods that reference a service account")
    if references(pod) - {("serviceaccounts", "default"), *_NAMELESS}:
        raise forbidden(
            resource, name, f"node '{node}' can not create pods that reference secrets, configmaps or claims"
        )


def _foreign(labels: Iterable[str]) -> str:
    """Those labels that a node may not set, sorted and joined."""
    return ", ".join(sorted(label for label in labels if label not in OWN_LABELS and _is_reserved(label)))


def _is_reserved(label: str) -> bool:
    domain, slash, _ = label.partition("/")
    return bool(slash) and _within(domain, RESERVED_DOMAINS) and not _within(domain, OWN_DOMAINS)


def _within(domain: str, domains: Iterable[str]) -> bool:
    return any(domain == one or domain.endswith(f".{one}") for one in domains)


def _taints(node: Object) -> object:
    return (node.get("spec") or {}).get("taints") or []
