"""What a node may write, beyond which object it is: itself under its own name, and no labels of its pods (the
NodeRestriction plugin of Kubernetes)."""

from services.apiserver import strategies
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from shared.identity.users import User
from shared.objects.registry import Resource

OWN_NAME = (("", "nodes"), ("coordination.k8s.io", "leases"))


def check_create(user: User, resource: Resource, obj: Object) -> None:
    """Forbidden if a node creates what bears another name."""
    node, name = user.node, obj["metadata"].get("name", "")
    if node is not None and strategies.key(resource) in OWN_NAME and name != node:
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
