"""Namespaces own what is in them: nothing is created in one that is missing or going away (NamespaceLifecycle)."""

from services.apiserver import strategies
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects import registry
from shared.objects.registry import Resource

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


async def require_active(store: Store, resource: Resource, obj: Object) -> None:
    """NotFound if the namespace of a new object is missing, Forbidden if it is being terminated."""
    name = obj["metadata"]["namespace"]
    # nearly always there, and then nobody need wait
    record = store.state.cache.get(Ref("", "namespaces", "", name)) or await store.get(namespaces(), "", name)
    if "deletionTimestamp" not in record.object["metadata"]:
        return
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {name} is being terminated",
        "field": "metadata.namespace",
    }
    why = f"unable to create new content in namespace {name} because it is being terminated"
    raise forbidden(resource, obj["metadata"].get("name", ""), why, [cause])


def refuse_immortal(resource: Resource, name: str) -> None:
    """Forbidden for the namespaces that may not be deleted."""
    if strategies.key(resource) == ("", "namespaces") and name in IMMORTAL:
        raise forbidden(resource, name, "this namespace may not be deleted")


def namespaces() -> Resource:
    """The Namespace resource."""
    found = registry.by_plural("", "v1", "namespaces")
    assert found is not None
    return found
