"""Whom batches of audit events are sent to: the server and credentials of a kubeconfig file.

Source: Kubernetes, "Auditing" (webhook backend) and "Organizing Cluster Access Using kubeconfig Files".
"""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from shared.errors import SettingsError

Part = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Receiver:
    """The URL of `cluster.server`, what its certificate is checked with (None for plain HTTP), and extra headers."""

    url: str
    context: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Receiver":
        """Read the current context of a kubeconfig. SettingsError names the file and what is wrong in it."""
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            cluster, user = _chosen(document)
            url = cluster.get("server", "")
            if not isinstance(url, str) or not url.startswith(("http://", "https://")):
                raise ValueError(f"clusters[].cluster.server: {url!r} is no URL")
            context = _context(path.parent, cluster, user) if url.startswith("https://") else None
            return cls(url, context, _headers(path.parent, user))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error, yaml.YAMLError) as exc:
            raise SettingsError(f"the audit webhook's kubeconfig {path} cannot be used: {exc}") from exc


def _chosen(document: Any) -> tuple[Part, Part]:
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    clusters = {one["name"]: one["cluster"] for one in document.get("clusters") or ()}
    users = {one["name"]: one.get("user") or {} for one in document.get("users") or ()}
    contexts = {one["name"]: one["context"] for one in document.get("contexts") or ()}
    current = document.get("current-context")
    if current not in contexts:
        raise ValueError(f"current-context: there is no context {current!r}")
    chosen = contexts[current]
    if chosen.get("cluster") not in clusters:
        raise ValueError(f"contexts[].context.cluster: there is no cluster {chosen.get('cluster')!r}")
    return clusters[chosen["cluster"]], users.get(chosen.get("user"), {})


def _context(base: Path, cluster: Part, user: Part) -> ssl.SSLContext:
    authority = _content(base, cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _content(base, user, "client-certificate"), _content(base, user, "client-key")
    if certificate and key:
        # ssl reads these from files only
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _headers(base: Path, user: Part) -> dict[str, str]:
    token = user.get("token") or ""
    if user.get("tokenFile"):
        token = (base / user["tokenFile"]).read_text(encoding="utf-8").strip()
    if token:
        return {"authorization": f"Bearer {token}"}
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _content(base: Path, part: Part, name: str) -> bytes:
    """What a field holds as base64, or the file that another one names."""
    if part.get(f"{name}-data"):
        return base64.b64decode(part[f"{name}-data"])
    return (base / part[name]).read_bytes() if part.get(name) else b""
