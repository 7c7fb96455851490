"""Approved certificate requests are signed, answered ones go after a while, and expired bootstrap tokens go at once."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.controllers import instants
from services.controllers.actions import Delete, Moment, Update
from services.controllers.bootstraptokens import BootstrapTokens
from services.controllers.certificates.cleaning import CertificateCleaning, end_of
from services.controllers.certificates.signing import CertificateSigning
from shared.identity.pki import Authority, ensure_pki
from tests.unit.services.controllers.world import World

Object = dict[str, Any]
NOW = 1_800_000_000.0
NODE = [("O", "system:nodes"), ("CN", "system:node:n1")]
PARTS = {"O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = ensure_pki(tmp_path_factory.mktemp("pki"), addresses=["127.0.0.1"], names=["localhost"])
    return Authority.load(made.directory)


def wish(subject: list[tuple[str, str]], names: list[x509.GeneralName] | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(PARTS[kind], value) for kind, value in subject])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def request(signer: str, encoded: str, usages: list[str], *decisions: str, **spec: Any) -> Object:
    conditions = [
        {"type": one, "status": "True", "reason": "ByHand", "lastUpdateTime": instants.text(NOW)} for one in decisions
    ]
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "joe"},
        "spec": {"request": encoded, "signerName": f"kubernetes.io/{signer}", "usages": usages, **spec},
        "status": {"conditions": conditions},
    }


def answered(authority: Authority | None, obj: Object) -> Object | None:
    """The status that the signer gives a request, None if it leaves it alone."""
    world = World()
    world.put(obj)
    plan = CertificateSigning(authority).plan(("", "joe"), world.view, Moment(NOW))
    if not plan.actions:
        return None
    (action,) = plan.actions
    assert isinstance(action, Update)
    assert action.subresource == "status"
    status: Object = action.obj["status"]
    return status


def certificate(status: Object | None) -> x509.Certificate:
    assert status is not None
    return x509.load_pem_x509_certificate(base64.b64decode(status["certificate"]))


def test_an_approved_client_gets_a_certificate_for_its_subject_and_time(authority: Authority) -> None:
    encoded = wish([("O", "devs"), ("CN", "alice")])
    obj = request("kube-apiserver-client", encoded, ["client auth", "digital signature"], "Approved")
    obj["spec"]["expirationSeconds"] = 3600
    made = certificate(answered(authority, obj))
    assert made.subject.rfc4514_string() == "CN=alice,O=devs"
    assert made.not_valid_after_utc.timestamp() == NOW + 3600
    assert made.not_valid_before_utc.timestamp() == NOW - 300
    made.verify_directly_issued_by(authority.certificate)
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature


@pytest.mark.parametrize(
    ("signer", "decisions"),
    [
        ("kube-apiserver-client", ()),
        ("kube-apiserver-client", ("Denied",)),
        ("kube-apiserver-client", ("Approved", "Failed")),
        ("unheard-of", ("Approved",)),
    ],
)
def test_what_is_not_approved_or_for_another_signer_is_left_alone(
    authority: Authority, signer: str, decisions: tuple[str, ...]
) -> None:
    assert answered(authority, request(signer, wish([("CN", "a")]), ["client auth"], *decisions)) is None


def test_without_the_authority_s_key_requests_wait_for_another_signer() -> None:
    assert answered(None, request("kube-apiserver-client", wish([("CN", "a")]), ["client auth"], "Approved")) is None


@pytest.mark.parametrize(
    ("signer", "subject", "names", "usages", "why"),
    [
        ("kube-apiserver-client", [("CN", "a")], [], ["server auth"], "invalid usage for client certificate"),
        ("kube-apiserver-client", [("CN", "a")], [], ["digital signature"], "missing required usage"),
        ("kube-apiserver-client-kubelet", [("CN", "a")], [], ["client auth"], "organization is not system:nodes"),
        ("kube-apiserver-client-kubelet", NODE, [x509.DNSName("n1")], ["client auth"], "DNS subjectAltNames are not"),
        ("kube-apiserver-client-kubelet", NODE, [], ["client auth"], "usages did not match"),
        ("kubelet-serving", NODE, [], ["server auth", "digital signature"], "DNS or IP subjectAltName is required"),
        (
            "kubelet-serving",
            [("O", "system:nodes"), ("CN", "n1")],
            [x509.DNSName("n1")],
            ["server auth", "digital signature"],
            "common name does not begin with system:node:",
        ),
    ],
)
def test_a_signer_says_why_it_does_not_sign(
    authority: Authority,
    signer: str,
    subject: list[tuple[str, str]],
    names: list[x509.GeneralName],
    usages: list[str],
    why: str,
) -> None:
    status = answered(authority, request(signer, wish(subject, names), usages, "Approved"))
    assert status is not None
    assert "certificate" not in status
    failed = status["conditions"][-1]
    assert (failed["type"], failed["reason"]) == ("Failed", "SignerValidationFailure")
    assert why in failed["message"]


def test_a_node_gets_the_names_it_serves_under(authority: Authority) -> None:
    usages = ["digital signature", "key encipherment", "server auth"]
    obj = request("kubelet-serving", wish(NODE, [x509.DNSName("n1")]), usages, "Approved")
    names = certificate(answered(authority, obj)).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("n1")]


def test_answered_requests_stay_an_hour_and_open_ones_a_day(authority: Authority) -> None:
    encoded = wish([("CN", "a")])
    denied = request("kube-apiserver-client", encoded, ["client auth"], "Denied")
    assert end_of(denied) == NOW + 3600
    approved = request("kube-apiserver-client", encoded, ["client auth"], "Approved")
    assert end_of(approved) == NOW + 24 * 3600
    status = answered(authority, approved | {"spec": approved["spec"] | {"expirationSeconds": 600}})
    assert end_of(approved | {"status": status}) == NOW + 600
    waiting = request("kube-apiserver-client", encoded, ["client auth"])
    waiting["metadata"]["creationTimestamp"] = instants.text(NOW)
    assert end_of(waiting) == NOW + 24 * 3600


def test_a_request_is_deleted_at_its_end_and_not_before() -> None:
    world = World()
    world.put(request("kube-apiserver-client", "", ["client auth"], "Denied"))
    cleaner = CertificateCleaning()
    assert cleaner.plan(("", "joe"), world.view, Moment(NOW)).again_after == 3600
    (action,) = cleaner.plan(("", "joe"), world.view, Moment(NOW + 3600)).actions
    assert isinstance(action, Delete)


@pytest.mark.parametrize(
    ("expiration", "gone"), [(instants.text(NOW - 1), True), (instants.text(NOW + 60), False), ("soon", True)]
)
def test_a_bootstrap_token_goes_when_it_has_expired(expiration: str, gone: bool) -> None:
    world = World()
    world.put(token({"expiration": base64.b64encode(expiration.encode()).decode()}))
    plan = BootstrapTokens().plan(("kube-system", "bootstrap-token-abcdef"), world.view, Moment(NOW))
    assert [type(action) for action in plan.actions] == ([Delete] if gone else [])
    assert plan.again_after == (None if gone else 60)


def test_only_bootstrap_tokens_of_the_system_are_looked_at() -> None:
    world = World()
    world.put(token({}))
    other = token({})
    other["metadata"]["namespace"] = "shop"
    world.put(other)
    assert BootstrapTokens().keys(world.view) == [("kube-system", "bootstrap-token-abcdef")]


def token(data: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": data,
    }
