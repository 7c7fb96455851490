"""Ingresses that name no class get the default one (DefaultIngressClass)."""

from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.storage import default_of
from services.apiserver.store import Store

CLASSES = ("networking.k8s.io", "ingressclasses")
DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def complete(store: Store, asked: Attributes) -> None:
    """Set the class of a new Ingress; in place."""
    obj = asked.object
    if asked.key != ("networking.k8s.io", "ingresses") or asked.operation != CREATE or asked.subresource or obj is None:
        return
    spec = obj.get("spec")
    annotations = obj["metadata"].get("annotations") or {}
    if not isinstance(spec, dict) or spec.get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
        return
    found = default_of([record.object for record in store.state.cache.list(*CLASSES)], (DEFAULT_ANNOTATION,))
    if found is not None:
        spec["ingressClassName"] = found["metadata"]["name"]
