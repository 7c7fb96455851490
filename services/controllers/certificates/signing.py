"""Signs approved certificate requests for the signers that Kubernetes itself serves (certificates.k8s.io/v1).

`kubectl certificate approve` only decides; without a signer the request stays approved and whoever waits for the
certificate waits for ever. Requests for other signers are left to whoever serves those.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.controllers import conditions, instants
from services.controllers.actions import NOTHING, Key, Moment, Object, Plan, Update
from services.controllers.certificates.issuing import alternative_names, issue
from services.controllers.certificates.requests import REQUESTS, OfRequests
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.identity.pki import Authority
from shared.identity.users import NODE_PREFIX, NODES

SERVED_FORMS = {"DNS", "IP"}
FORMS = {x509.DNSName: "DNS", x509.RFC822Name: "Email", x509.IPAddress: "IP", x509.UniformResourceIdentifier: "URI"}


class CertificateSigning(OfRequests):
    """Signs what was approved."""

    name = "csrsigning"
    workers = 1

    def __init__(self, authority: Authority | None) -> None:
        self._authority = authority

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Sign the request, or say in a condition Failed why its signer does not."""
        request = view.get(*REQUESTS, *key)
        if request is None or self._authority is None or not _waits(request):
            return NOTHING
        spec = request["spec"]
        objection = SIGNERS[spec["signerName"]]
        status = dict(request["status"])
        try:
            asked = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
            why = objection(asked, spec["usages"])
            if why is None:
                seconds = spec.get("expirationSeconds")
                certificate = issue(self._authority, asked, spec["usages"], seconds, moment.now)
        except (ValueError, binascii.Error) as exc:
            why = str(exc)
        if why is None:
            status["certificate"] = base64.b64encode(certificate.encode()).decode()
        else:
            now = instants.text(moment.now)
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": why,
                "lastUpdateTime": now,
            }
            status["conditions"] = [*status["conditions"], failed]
        return Plan((Update(Ref(*REQUESTS, *key), {**request, "status": status}, "status"),))


def _waits(request: Object) -> bool:
    status = request.get("status") or {}
    given = status.get("conditions")
    return (
        conditions.is_true(given, "Approved")
        and not conditions.is_true(given, "Denied")
        and not conditions.is_true(given, "Failed")
        and not status.get("certificate")
        and request["spec"].get("signerName") in SIGNERS
    )


def _client(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str | None:
    for usage in usages:
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return None if "client auth" in usages else "missing required usage for client certificate: client auth"


def _node_client(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str | None:
    if _organisations(request) != [NODES]:
        return "subject organization is not system:nodes"
    if forms := _forms(request):
        return f"{min(forms)} subjectAltNames are not allowed"
    if not _common_name(request).startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return _exactly("client auth", usages)


def _node_serving(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str | None:
    if _organisations(request) != [NODES]:
        return "subject organization is not system:nodes"
    forms = _forms(request)
    if forms.isdisjoint(SERVED_FORMS):
        return "DNS or IP subjectAltName is required"
    if forms - SERVED_FORMS:
        return f"{min(forms - SERVED_FORMS)} subjectAltNames are not allowed"
    why = _exactly("server auth", usages)
    if why is not None or _common_name(request).startswith(NODE_PREFIX):
        return why
    return "subject common name does not begin with system:node:"


SIGNERS: dict[str, Callable[[x509.CertificateSigningRequest, Collection[str]], str | None]] = {
    "kubernetes.io/kube-apiserver-client": _client,
    "kubernetes.io/kube-apiserver-client-kubelet": _node_client,
    "kubernetes.io/kubelet-serving": _node_serving,
}
"""What each signer objects to in a request and its usages, None if nothing."""


def _exactly(purpose: str, usages: Collection[str]) -> str | None:
    needed = {"digital signature", purpose}
    if set(usages) in (needed, needed | {"key encipherment"}):
        return None
    return f"usages did not match [{' '.join(sorted(needed | {'key encipherment'}))}]"


def _forms(request: x509.CertificateSigningRequest) -> set[str]:
    return {FORMS.get(type(one), "other") for one in alternative_names(request)}


def _organisations(request: x509.CertificateSigningRequest) -> list[str]:
    return [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _common_name(request: x509.CertificateSigningRequest) -> str:
    names = [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names[-1] if names else ""
