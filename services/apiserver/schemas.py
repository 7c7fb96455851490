"""The OpenAPI documents, by which clients explain kinds and check manifests; built once per group version."""

import hashlib
from urllib.parse import urlsplit

from services.apiserver.failures import not_acceptable
from services.apiserver.negotiation import parse
from services.apiserver.protocol import JSON, Object, Outcome, Raw, Request
from shared.objects import json, openapi

ROOT = "/openapi/v3"
NO_CACHE = ("Cache-Control", "no-cache, private")
V2_PROTOBUF = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
V3_PROTOBUF = (
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
)


class Schemas:
    """Serves /openapi/v3 and below."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[bytes, str]] = {}
        self._index: dict[str, str] | None = None

    def serve(self, request: Request) -> Outcome | None:
        """The document at a path; None if the path is none of these."""
        if request.path.rstrip("/") == ROOT:
            paths = {
                name: {"serverRelativeURL": f"{ROOT}/{name}?hash={self._document(name)[1]}"} for name in self._names()
            }
            return Raw(json.encode({"paths": paths}), JSON)
        if not request.path.startswith(f"{ROOT}/"):
            return None
        name = request.path.removeprefix(f"{ROOT}/").rstrip("/")
        if name not in self._names():
            return Raw(b"", "", 404)
        _require_json(request.headers.get("accept", ""))
        body, digest = self._document(name)
        asked = request.query.get("hash")
        if asked and asked != digest:
            return Raw(b"", JSON, 301, (("Location", f"{ROOT}/{name}?hash={digest}"),))
        cache = ("Cache-Control", "public, immutable") if asked else NO_CACHE
        headers = (("ETag", f'"{digest}"'), ("Vary", "Accept"), cache)
        if f'"{digest}"' in request.headers.get("if-none-match", ""):
            return Raw(b"", "", 304, headers)
        return Raw(body, JSON, 200, headers)

    def _names(self) -> dict[str, str]:
        if self._index is None:
            found: dict[str, Object] = openapi.index()["paths"]
            self._index = {name: urlsplit(entry["serverRelativeURL"]).path for name, entry in found.items()}
        return self._index

    def _document(self, name: str) -> tuple[bytes, str]:
        known = self._documents.get(name)
        if known is None:
            parts = name.split("/")
            group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
            body = json.encode(openapi.document(group, version))
            known = self._documents[name] = body, hashlib.sha256(body).hexdigest().upper()
        return known


def _require_json(header: str) -> None:
    clauses = parse(header)
    if clauses and not any(clause.media in (JSON, "*/*") for clause in clauses):
        raise not_acceptable((JSON,))
