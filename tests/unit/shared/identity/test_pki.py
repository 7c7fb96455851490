"""The authority: what it issues verifies, and what no longer fits is issued again."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.identity.keys import load_private_key
from shared.identity.kubeconfig import admin_kubeconfig
from shared.identity.pki import Authority, ensure_pki, issue_client


def test_a_second_run_changes_no_file(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    before = {path.name: path.read_bytes() for path in pki.directory.iterdir()}
    ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    assert {path.name: path.read_bytes() for path in pki.directory.iterdir()} == before


def test_private_files_are_readable_by_the_owner_alone(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    assert {path.stat().st_mode & 0o777 for path in pki.directory.glob("*.key")} == {0o600}


def test_serving_certificates_are_issued_again_when_their_names_change(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    authority = pki.ca_certificate.read_bytes()
    ensure_pki(tmp_path, addresses=["127.0.0.1", "10.89.0.1"], names=["localhost"])
    certificate = x509.load_pem_x509_certificate(pki.apiserver_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.89.0.1"]
    assert pki.ca_certificate.read_bytes() == authority


def test_a_key_that_does_not_match_its_certificate_is_replaced(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    pki.apiserver_key.write_bytes(pki.nats_key.read_bytes())
    ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    certificate = x509.load_pem_x509_certificate(pki.apiserver_certificate.read_bytes())
    assert certificate.public_key() == load_private_key(pki.apiserver_key).public_key()


def test_a_new_authority_replaces_what_the_old_one_signed(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    pki.ca_certificate.unlink()
    ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    certificate = x509.load_pem_x509_certificate(pki.nats_certificate.read_bytes())
    certificate.verify_directly_issued_by(Authority.load(pki.directory).certificate)


def test_a_client_certificate_carries_user_and_groups(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    pem, _key = issue_client(Authority.load(pki.directory), "ada", ["system:masters", "editors"])
    certificate = x509.load_pem_x509_certificate(pem)
    subject = certificate.subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["ada"]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:masters", "editors"]
    certificate.verify_directly_issued_by(Authority.load(pki.directory).certificate)


def test_strict_clients_accept_the_chain(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pki.apiserver_certificate, pki.apiserver_key)
    client_side = ssl.create_default_context(cafile=str(pki.ca_certificate))
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert() is not None


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="node-1"):
        ensure_pki(tmp_path, addresses=["node-1"], names=[])


def test_the_kubeconfig_names_server_and_user(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=[])
    document = admin_kubeconfig(pki, "https://127.0.0.1:6443", cluster="blue")
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert document["contexts"][0]["context"] == {"cluster": "blue", "user": "wherry-admin"}
    assert document["current-context"] == "blue"


def test_the_bus_certificate_is_good_for_routes_in_both_directions(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    certificate = x509.load_pem_x509_certificate(pki.nats_certificate.read_bytes())
    purposes = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    # the certificate of an earlier version, good for a server alone, is issued again
    pki.nats_certificate.write_bytes(pki.apiserver_certificate.read_bytes())
    pki.nats_key.write_bytes(pki.apiserver_key.read_bytes())
    ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    assert pki.nats_certificate.read_bytes() != pki.apiserver_certificate.read_bytes()
