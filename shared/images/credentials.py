"""Who to be at a registry, from a Docker config JSON.

Why this form: it is what `docker login` writes, what an image pull secret (kubernetes.io/dockerconfigjson) holds, and
what every build tool reads. Credential helpers (programs) are not run: a node agent must not start what a secret names.
Source: the Docker CLI's config file; Kubernetes docs, "Pull an Image from a Private Registry" (matching rules).
"""

import base64
import binascii
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.images.errors import ImageDenied


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and password, or an identity token of an OAuth2 server."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


def find(config: Mapping[str, Any] | None, registry: str, repository: str) -> Credential | None:
    """The credential for `registry/repository` in a parsed Docker config, the longest matching entry first.

    Keys may be a host, `host/path`, a URL, or have `*` in host parts. Raises ImageDenied for an entry that cannot be
    read.
    """
    auths = (config or {}).get("auths", config or {})
    if not isinstance(auths, Mapping):
        raise ImageDenied("docker config: auths is not an object")
    for key in sorted(auths, key=len, reverse=True):
        if _matches(key, registry, repository):
            return _credential(key, auths[key])
    return None


def _matches(key: str, registry: str, repository: str) -> bool:
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = bare.partition("/")
    if path in ("v1", "v2"):
        path = ""
    hub = {"docker.io", "index.docker.io", "registry-1.docker.io"}
    if host in hub and registry in hub:
        host = registry
    wanted, offered = registry.split("."), host.split(".")
    if len(wanted) != len(offered) or not all(fnmatch.fnmatchcase(w, o) for w, o in zip(wanted, offered, strict=True)):
        return False
    return not path or repository == path or repository.startswith(path + "/")


def _credential(key: str, entry: Any) -> Credential:
    if not isinstance(entry, Mapping):
        raise ImageDenied(f"docker config: entry {key!r} is not an object")
    token = str(entry.get("identitytoken") or entry.get("registrytoken") or "")
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise ImageDenied(f"docker config: auth of entry {key!r} is not base64 of user:password") from exc
        return Credential(user, password.rstrip("\0"), token)
    return Credential(str(entry.get("username") or ""), str(entry.get("password") or ""), token)
