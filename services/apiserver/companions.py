"""What a namespace is born with: its default service account and the cluster's root certificate.

Kubernetes leaves both to controllers, and a pod created right after its namespace has to wait for them. Here they are
written in one batch with the namespace; the controllers only put back what somebody deletes.
"""

from collections.abc import Callable, Sequence

from services.apiserver import render, strategies
from services.apiserver.admission.serviceaccounts import ROOT_CA, default_account
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects import registry
from shared.objects.registry import Resource
from shared.state.log import CREATE, Write

DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class Companions:
    """Plans the companions of new namespaces; `root_ca` is the PEM text of the cluster's authority."""

    def __init__(self, store: Store, root_ca: str) -> None:
        self._store = store
        self._root_ca = root_ca

    def plan(self, resource: Resource, obj: Object) -> Callable[[], Sequence[Write]] | None:
        """The writes that go along with a new object; None if it is no namespace."""
        if strategies.key(resource) != ("", "namespaces"):
            return None
        name = obj["metadata"]["name"]

        def along() -> Sequence[Write]:
            planned = (self._write("serviceaccounts", default_account(name)), self._write("configmaps", self._ca(name)))
            return [write for write in planned if write is not None]

        return along

    def _write(self, plural: str, obj: Object) -> Write | None:
        resource = registry.by_plural("", "v1", plural)
        assert resource is not None
        ref = Ref("", plural, obj["metadata"]["namespace"], obj["metadata"]["name"])
        cache = self._store.state.cache
        if cache.get(ref) is not None:
            return None
        strategies.identify(obj)
        strategies.prepare_create(resource, obj)
        return Write(ref, render.canonical(obj), cache.expected(ref), CREATE)

    def _ca(self, namespace: str) -> Object:
        metadata = {
            "name": ROOT_CA,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": DESCRIPTION},
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": self._root_ca}}
