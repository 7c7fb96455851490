"""A certificate for a signing request, as kube-controller-manager's signers make it.

The request gives the subject, the key and the alternative names; everything else is the policy's (Kubernetes,
"Certificate Signing Requests"; RFC 5280 sections 4.2.1.3 and 4.2.1.12).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared.identity.pki import Authority

LONGEST = timedelta(days=365)
SHORTEST = timedelta(minutes=10)
BACKDATE = timedelta(minutes=5)
SHORT = timedelta(hours=8)
"""A certificate for less than this lasts as long as was asked for from now on, not from its backdated start."""

_PURPOSES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
}


def issue(
    authority: Authority,
    request: x509.CertificateSigningRequest,
    usages: Collection[str],
    seconds: int | None,
    now: float,
) -> str:
    """A PEM certificate for the key and subject of `request`; `seconds` is how long it is wanted for.

    ValueError if the request is not signed by its own key.
    """
    if not request.is_signature_valid:
        raise ValueError("the signature of the request is not that of its key")
    lifetime = min(max(timedelta(seconds=seconds), SHORTEST), LONGEST) if seconds is not None else LONGEST
    moment = datetime.fromtimestamp(now, UTC)
    start = moment - BACKDATE
    end = (moment if lifetime < SHORT else start) + lifetime
    signer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(_public_key(request))
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(min(end, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False)
    )
    allowed = _key_usage(frozenset(usages))
    if allowed is not None:
        builder = builder.add_extension(allowed, critical=True)
    purposes = list(dict.fromkeys(_PURPOSES[usage] for usage in usages if usage in _PURPOSES))
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    names = alternative_names(request)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(request.subject))
    certificate = builder.sign(authority.key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def alternative_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    """The alternative names that a request asks for, possibly none."""
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _public_key(
    request: x509.CertificateSigningRequest,
) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey:
    key = request.public_key()
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key
    raise ValueError(f"keys of the kind {type(key).__name__} cannot be certified")


def _key_usage(usages: frozenset[str]) -> x509.KeyUsage | None:
    agrees = "key agreement" in usages
    bits = {
        "digital_signature": not usages.isdisjoint({"signing", "digital signature"}),
        "content_commitment": "content commitment" in usages,
        "key_encipherment": "key encipherment" in usages,
        "data_encipherment": "data encipherment" in usages,
        "key_agreement": agrees,
        "key_cert_sign": "cert sign" in usages,
        "crl_sign": "crl sign" in usages,
        # these two say how an agreed key is used, and mean nothing without one
        "encipher_only": agrees and "encipher only" in usages,
        "decipher_only": agrees and "decipher only" in usages,
    }
    return x509.KeyUsage(**bits) if any(bits.values()) else None
