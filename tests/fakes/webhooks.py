"""A real webhook server: HTTPS with a certificate of its own authority, answering as a test tells it to."""

import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.objects import json

Object = dict[str, Any]
Answer = Callable[[Object], Object]


@dataclass
class WebhookServer:
    """`reviews` are the requests it got, `respond` makes of one the fields of the response."""

    url: str
    bundle: str
    respond: Answer = lambda request: {"allowed": True}
    reviews: list[Object] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    status: int = 200

    def webhook(self, name: str = "check.example.com", **more: Any) -> Object:
        """A webhook that hears of new ConfigMaps."""
        return {
            "name": name,
            "clientConfig": {"url": self.url, "caBundle": self.bundle},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
            "rules": [rule()],
        } | more


def rule(**more: Any) -> Object:
    """A rule that matches new ConfigMaps."""
    fixed = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    return fixed | more


def patch(*operations: Object) -> Object:
    """The response that changes the object."""
    encoded = base64.b64encode(msgspec.json.encode(operations)).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def configuration(kind: str, *webhooks: Object, name: str = "hooks") -> Object:
    """A webhook configuration of a kind, Validating or Mutating."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


@asynccontextmanager
async def webhook_server(
    directory: Path, *, names: tuple[str, ...] = ("localhost",), host: str = "127.0.0.1"
) -> AsyncIterator[WebhookServer]:
    """Serve at a free port until the block ends."""
    context, bundle = _certificate(directory, names, host)
    server = WebhookServer("", base64.b64encode(bundle).decode())

    async def handle(request: web.Request) -> web.Response:
        review = json.parse(await request.read())
        assert isinstance(review, dict)
        server.reviews.append(review["request"])
        server.paths.append(request.path_qs)
        server.hosts.append(request.host)
        response = {"uid": review["request"]["uid"]} | server.respond(review["request"])
        body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        return web.Response(body=json.encode(body), content_type="application/json", status=server.status)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        server.url = f"https://{host}:{port}/hook"
        yield server
    finally:
        await runner.cleanup()


def certificate(names: tuple[str, ...], host: str = "127.0.0.1") -> tuple[bytes, bytes]:
    """PEM texts: key and certificate of a server with these names, and the authority that vouches for it (itself)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [*(x509.DNSName(name) for name in names), x509.IPAddress(ipaddress.ip_address(host))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoded = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + encoded, encoded


def _certificate(directory: Path, names: tuple[str, ...], host: str) -> tuple[ssl.SSLContext, bytes]:
    """The server's side, and the PEM text of its authority."""
    whole, authority = certificate(names, host)
    path = directory / "webhook.pem"
    path.write_bytes(whole)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, authority
