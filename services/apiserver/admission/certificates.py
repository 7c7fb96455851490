"""Nobody becomes an administrator by a certificate request (CertificateSubjectRestriction)."""

import base64
import binascii

from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.failures import forbidden
from shared.identity.users import MASTERS

REQUESTS = ("certificates.k8s.io", "certificatesigningrequests")
SIGNER = "kubernetes.io/kube-apiserver-client"


def check(asked: Attributes) -> None:
    """Forbidden if a request for a client certificate asks for the group of administrators."""
    if asked.key != REQUESTS or asked.operation != CREATE:
        return
    spec = asked.current.get("spec") or {}
    if asked.subresource or spec.get("signerName") != SIGNER:
        return
    # six megabytes, and requests for certificates are rare
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", "")))
    except (ValueError, binascii.Error):
        # validation says what is wrong with it
        return
    groups = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if MASTERS in groups:
        why = f"use of {SIGNER} signer with {MASTERS} group is not allowed"
        raise forbidden(asked.resource, asked.name, why)
