"""Parameters of policies: the objects that a binding refers to."""

from services.apiserver import conversion
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.policies.definitions import Binding, Policy
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.objects import registry, selectors


class Misconfigured(Exception):
    """The parameters cannot be found; the text says why."""


def params_of(store: Store, policy: Policy, binding: Binding, asked: Attributes) -> list[Object | None]:
    """What the policy is evaluated with, once for each; [None] if it takes no parameters."""
    kind, reference = policy.param_kind, binding.reference
    if kind is None or reference is None:
        return [None]
    resource = registry.by_kind(kind.get("apiVersion", ""), kind.get("kind", ""))
    if resource is None:
        raise Misconfigured(f"paramKind kind `{kind.get('apiVersion')}, Kind={kind.get('kind')}` not known")
    namespace = ""
    if resource.namespaced:
        namespace = reference.get("namespace") or asked.namespace
        if not namespace:
            raise Misconfigured(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif reference.get("namespace"):
        raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found: list[Object | None]
    if reference.get("name"):
        record = store.peek(resource, namespace, reference["name"])
        found = [conversion.view(resource, record)] if record is not None else []
    else:
        selector = selectors.from_label_selector(reference.get("selector") or {})
        found = [
            conversion.view(resource, record)
            for record in store.list_objects(resource, namespace)
            if selector.matches(record.object["metadata"].get("labels"))
        ]
    if not found and reference.get("parameterNotFoundAction", "Deny") == "Deny":
        raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found
