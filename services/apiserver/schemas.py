"""The OpenAPI documents, by which clients explain kinds and check manifests; built when first asked for."""

import hashlib
from collections.abc import Callable

from services.apiserver.failures import not_acceptable
from services.apiserver.negotiation import parse
from services.apiserver.protocol import JSON, Object, Outcome, Raw, Request
from shared.objects import json, openapi, registry
from shared.objects.registry import Resource

ROOT = "/openapi/v3"
V2 = "/openapi/v2"
NO_CACHE = ("Cache-Control", "no-cache, private")
FOREVER = ("Cache-Control", "public, immutable")
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"


class Schemas:
    """Serves /openapi/v2, and /openapi/v3 and below."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._digests: dict[str, str] = {}
        self._names: tuple[str, ...] = ()
        self._custom: dict[str, list[Resource]] = {}
        self._generation = -1

    def _renew(self) -> None:
        """Forget the documents that custom resources came into, changed in or went from."""
        if self._generation == registry.generation():
            return
        self._generation = registry.generation()
        self._names = ()
        custom: dict[str, list[Resource]] = {}
        for one in registry.custom_resources():
            custom.setdefault(openapi.document_name(one.group, one.version), []).append(one)
        changed = {name for name in {*custom, *self._custom} if custom.get(name) != self._custom.get(name)}
        for name in {V2, *changed}:
            self._digests.pop(name, None)
            for media in _ENCODINGS:
                self._bodies.pop((name, media), None)
        self._custom = custom

    def serve(self, request: Request) -> Outcome | None:
        """The document at a path; None if the path is none of these."""
        self._renew()
        path = request.path.rstrip("/")
        if path == V2:
            return self._answer(request, V2, V2_PROTOBUF)
        if path == ROOT:
            paths = {name: {"serverRelativeURL": f"{ROOT}/{name}?hash={self._digest(name)}"} for name in self._served()}
            return Raw(json.encode({"paths": paths}), JSON)
        if not path.startswith(f"{ROOT}/"):
            return None
        name = path.removeprefix(f"{ROOT}/")
        if name not in self._served():
            return Raw(b"", "", 404)
        return self._answer(request, name, V3_PROTOBUF)

    def _answer(self, request: Request, name: str, protobuf: str) -> Outcome:
        media = _choose(request.headers.get("accept", ""), protobuf)
        digest = self._digest(name)
        asked = request.query.get("hash")
        if asked and asked != digest:
            return Raw(b"", JSON, 301, (("Location", f"{ROOT}/{name}?hash={digest}"),))
        headers = (("ETag", f'"{digest}"'), ("Vary", "Accept"), FOREVER if asked else NO_CACHE)
        if f'"{digest}"' in request.headers.get("if-none-match", ""):
            return Raw(b"", "", 304, headers)
        return Raw(self._body(name, media), media, 200, headers)

    def _served(self) -> tuple[str, ...]:
        if not self._names:
            self._names = tuple(openapi.index()["paths"])
        return self._names

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(self._body(name, JSON)).hexdigest().upper()
        return self._digests[name]

    def _body(self, name: str, media: str) -> bytes:
        key = name, media
        if key not in self._bodies:
            if name == V2:
                made = openapi.version2.document(map(openapi.document, self._served()))
            else:
                made = openapi.document(name)
            self._bodies[key] = _ENCODINGS[media](made)
        return self._bodies[key]


_ENCODINGS: dict[str, Callable[[Object], bytes]] = {
    JSON: json.encode,
    V2_PROTOBUF: openapi.gnostic.encode_v2,
    V3_PROTOBUF: openapi.gnostic.encode_v3,
}


def _choose(header: str, protobuf: str) -> str:
    """JSON or the protobuf form, which clients also ask for by its old name. NotAcceptable for anything else."""
    clauses = parse(header)
    for clause in clauses:
        media = clause.media.replace("@", ".")
        if media == protobuf:
            return protobuf
        if media in (JSON, "*/*"):
            return JSON
    if clauses:
        raise not_acceptable((JSON, protobuf))
    return JSON
