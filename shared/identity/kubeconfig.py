"""Kubeconfig material, so that any Kubernetes client can talk to the cluster with one file."""

import base64
from collections.abc import Sequence
from typing import Any

from shared.identity.pki import Authority, issue_client
from shared.identity.places import Pki
from shared.identity.users import MASTERS


def admin_kubeconfig(
    pki: Pki, server: str, *, cluster: str = "wherry", user: str = "wherry-admin", groups: Sequence[str] = (MASTERS,)
) -> dict[str, Any]:
    """A kubeconfig document (v1 Config) with a fresh client certificate; `server` is the URL of the API server."""
    certificate, key = issue_client(Authority.load(pki.directory), user, groups)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": _encoded(pki.ca_certificate.read_bytes())},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)},
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
