"""What every namespace gets without being asked: a service account and the certificate of the cluster's authority.

Pods mount both (KEP-1205); without them an in-cluster client can neither name itself nor trust the API server.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Action, Create, Key, Moment, Object, Plan, Update
from services.controllers.namespaces import NAMESPACES
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta

ACCOUNTS = ("", "serviceaccounts")
CONFIGMAPS = ("", "configmaps")
ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class ServiceAccounts:
    """Keeps the account `default` in every active namespace."""

    name = "serviceaccount"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Every namespace."""
        return [meta.key(namespace) for namespace in view.every(*NAMESPACES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The namespace itself, or that of a default account that is gone."""
        return _namespace_of(ref, obj, ACCOUNTS, ACCOUNT)

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Create the account if it is missing."""
        if not _is_active(view.get(*NAMESPACES, *key)) or view.get(*ACCOUNTS, key[1], ACCOUNT) is not None:
            return NOTHING
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": key[1]},
        }
        return Plan((Create(Ref(*ACCOUNTS, key[1], ACCOUNT), account, existing="fine"),))


class RootCertificates:
    """Keeps ConfigMap kube-root-ca.crt, with the authority's certificate (PEM), in every active namespace."""

    name = "root_ca_certificate_publisher"
    workers = 2

    def __init__(self, certificate: str) -> None:
        self._certificate = certificate

    def keys(self, view: View) -> Iterable[Key]:
        """Every namespace."""
        return [meta.key(namespace) for namespace in view.every(*NAMESPACES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The namespace itself, or that of a changed kube-root-ca.crt."""
        return _namespace_of(ref, obj, CONFIGMAPS, ROOT_CA, changes=True)

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Create the ConfigMap, or put the right certificate back."""
        if not _is_active(view.get(*NAMESPACES, *key)):
            return NOTHING
        ref = Ref(*CONFIGMAPS, key[1], ROOT_CA)
        existing, data = view.at(ref), {"ca.crt": self._certificate}
        action: Action
        if existing is None:
            metadata = {
                "name": ROOT_CA,
                "namespace": key[1],
                "annotations": {"kubernetes.io/description": _DESCRIPTION},
            }
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            action = Create(ref, made)
        elif existing.get("data") != data or "binaryData" in existing:
            changed = {name: value for name, value in existing.items() if name != "binaryData"}
            action = Update(ref, {**changed, "data": data})
        else:
            return NOTHING
        return Plan((action,))


def _is_active(namespace: Object | None) -> bool:
    return namespace is not None and not meta.is_deleting(namespace)


def _namespace_of(
    ref: Ref, obj: Object | None, watched: tuple[str, str], name: str, *, changes: bool = False
) -> list[Key]:
    if ref[:2] == NAMESPACES:
        return [("", ref.name)]
    if ref[:2] == watched and ref.name == name and (obj is None or changes):
        return [("", ref.namespace)]
    return []
