"""The cluster's own certificate authority, because a cluster must be able to start with nothing but a data directory.

Everything lives as PEM files below `DATA/pki`: one authority signs the serving certificates of the API server and of
the bus and every client certificate; `sa.key` signs service account tokens. Private files are mode 0600. Files are
replaced by rename, so that a reader never sees half of one, and a lock file serialises two starters.
"""

import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.identity.keys import load_private_key
from shared.identity.places import Pki, pki_directory

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)
# file name, common name, purposes; servers of a replicated bus are each other's clients
SERVING = (
    ("apiserver", "kube-apiserver", (ExtendedKeyUsageOID.SERVER_AUTH,)),
    ("nats", "nats-server", (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)),
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A signing certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, directory: Path) -> "Authority":
        """Read `ca.crt` and `ca.key` from a pki directory."""
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        return cls(certificate, load_private_key(directory / "ca.key"))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def ensure_pki(data: Path, *, addresses: Sequence[str], names: Sequence[str]) -> Pki:
    """Create what is missing and renew what no longer fits; idempotent, safe to run from several processes.

    `addresses` (IPs) and `names` (DNS) become the subject alternative names of both serving certificates. A serving
    certificate is issued again when its names changed, when it expires within 30 days or when the authority is new.
    """
    directory = pki_directory(data)
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    with _locked(directory):
        if not (directory / "ca.crt").exists() or not (directory / "ca.key").exists():
            authority = _new_authority()
            _write_key(directory / "ca.key", authority.key)
            _write(directory / "ca.crt", authority.pem, 0o644)
        authority = Authority.load(directory)
        alternatives = _alternatives(addresses, names)
        for name, common_name, purposes in SERVING:
            certificate_path, key_path = directory / f"{name}.crt", directory / f"{name}.key"
            if not _still_fits(certificate_path, key_path, authority, alternatives, purposes):
                certificate, key = _issue(authority, common_name, (), alternatives, purposes)
                _write_key(key_path, key)
                _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        if not (directory / "sa.key").exists():
            _write_key(directory / "sa.key", ec.generate_private_key(ec.SECP256R1()))
        public = load_private_key(directory / "sa.key").public_key()
        public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        public_path = directory / "sa.pub"
        if not public_path.exists() or public_path.read_bytes() != public_pem:
            _write(public_path, public_pem, 0o644)
    return Pki(directory)


def issue_client(
    ca: Authority, user: str, groups: Sequence[str] = (), *, lifetime: timedelta = LEAF_LIFETIME
) -> tuple[bytes, bytes]:
    """A client certificate and key (PEM), read as Kubernetes does: common name = user, each organisation = a group."""
    certificate, key = _issue(ca, user, groups, (), (ExtendedKeyUsageOID.CLIENT_AUTH,), lifetime)
    return certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def _new_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wherry-ca")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _issue(
    authority: Authority,
    common_name: str,
    organisations: Sequence[str],
    alternatives: Sequence[x509.GeneralName],
    purposes: Sequence[x509.ObjectIdentifier],
    lifetime: timedelta = LEAF_LIFETIME,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organisations]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    authority_identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(min(now + lifetime, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_identifier), critical=False
        )
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(authority.key, hashes.SHA256()), key


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(addresses: Sequence[str], names: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    unique_names = [x509.DNSName(name) for name in dict.fromkeys(names)]
    unique_addresses = [x509.IPAddress(address) for address in dict.fromkeys(map(ipaddress.ip_address, addresses))]
    return (*unique_names, *unique_addresses)


def _still_fits(
    certificate_path: Path,
    key_path: Path,
    authority: Authority,
    alternatives: Sequence[x509.GeneralName],
    purposes: Sequence[x509.ObjectIdentifier],
) -> bool:
    if not certificate_path.exists() or not key_path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    if certificate.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE:
        return False
    # a crash between the two renames leaves a key beside the certificate of another key
    if certificate.public_key() != load_private_key(key_path).public_key():
        return False
    authority_identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    signer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    if signer.key_identifier != authority_identifier.digest:
        return False
    if set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) != set(purposes):
        return False
    try:
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not alternatives
    return set(present) == set(alternatives)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    _write(path, _key_pem(key), 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
