"""Where an object lives in the API: from the ref that names it on the bus to its URL path."""

from __future__ import annotations

from shared.errors import StateError
from shared.events.subjects import Ref
from shared.objects import registry
from shared.objects.registry import Resource


def served(group: str, plural: str) -> Resource | None:
    """The served resource of a group, whatever its version."""
    return registry.preferred(group, plural)


def resource_of(ref: Ref) -> Resource:
    """The served resource behind a ref; StateError if this version of Wherry does not serve it."""
    resource = served(ref.group, ref.resource)
    if resource is None:
        raise StateError(f"resource {ref.resource} of group {ref.group or 'core'} is not served")
    return resource


def collection(group: str, plural: str, namespace: str = "") -> str:
    """The path of all objects of a resource, in one namespace or cluster-wide."""
    resource = resource_of(Ref(group, plural, namespace, ""))
    root = f"/apis/{group}/{resource.version}" if group else f"/api/{resource.version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def path(ref: Ref, subresource: str = "") -> str:
    """The path of one object or of a subresource of it."""
    base = f"{collection(ref.group, ref.resource, ref.namespace)}/{ref.name}"
    return f"{base}/{subresource}" if subresource else base


def of_kind(group: str, version: str, kind: str) -> Resource | None:
    """The served resource of a kind; another version of the group will do, for a reference names just one."""
    exact = registry.by_kind(f"{group}/{version}" if group else version, kind)
    if exact is not None:
        return exact
    return registry.of_kind(group, kind)
