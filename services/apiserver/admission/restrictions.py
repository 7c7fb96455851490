"""What a node may write, beyond which object it is: itself under its own name, and no labels of its pods (the
NodeRestriction plugin of Kubernetes)."""

from services.apiserver import strategies
from services.apiserver.admission.serviceaccounts import MIRROR
from services.apiserver.auth.nodes import references
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from shared.identity.users import User
from shared.objects.registry import Resource

# what `references` yields for sources that are not there
_NAMELESS = frozenset({("secrets", ""), ("configmaps", ""), ("persistentvolumeclaims", "")})
OWN_NAME = (("", "nodes"), ("coordination.k8s.io", "leases"))


def check_create(user: User, resource: Resource, obj: Object) -> None:
    """Forbidden if a node creates what bears another name, or any pod but the mirror of a static one of its own."""
    node, name = user.node, obj["metadata"].get("name", "")
    if node is None:
        return
    if strategies.key(resource) == ("", "pods"):
        _check_mirror(node, resource, obj)
    if strategies.key(resource) in OWN_NAME and name != node:
        raise forbidden(resource, name, f"node '{node}' may only create {resource.plural} of its own name")


def check_update(user: User, resource: Resource, obj: Object, old: Object) -> None:
    """Forbidden if a node moves its pod into or out of somebody's selector, or changes more of a volume than its
    finalizers."""
    node = user.node
    if node is None:
        return
    if strategies.key(resource) == ("", "persistentvolumes") and obj.get("spec") != old.get("spec"):
        raise forbidden(resource, old["metadata"]["name"], f"node '{node}' cannot change the spec of volumes")
    if strategies.key(resource) != ("", "pods"):
        return
    if obj["metadata"].get("labels") != old["metadata"].get("labels"):
        raise forbidden(resource, old["metadata"]["name"], f"node '{node}' cannot update labels through pod status")


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
