"""Admission of what is no write of an object: connections to pods, and requests that are answered at once, such as a
binding, an eviction or a token."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from services.apiserver import decoding
from services.apiserver.admission.attributes import CONNECT, CREATE, Attributes
from services.apiserver.admission.extensions import Extensions
from services.apiserver.protocol import JSON, Object, Outcome, Request
from services.apiserver.routes import Serve, Target
from shared.objects import json

CONNECTIONS = ("attach", "exec", "portforward", "proxy")
FLAGS = ("stdin", "stdout", "stderr", "tty")


@dataclass(frozen=True, slots=True)
class Subresources:
    """Asks webhooks and policies about them."""

    extensions: Extensions

    async def connect(self, request: Request, target: Target) -> None:
        """Let the extensions refuse a connection to a pod."""
        assert target.subresource is not None
        subresource = target.subresource.name
        if subresource not in CONNECTIONS or not self.extensions.concern(target.resource, subresource, CONNECT):
            return
        kind = ("", "v1", target.subresource.kind)
        asked = Attributes(
            request,
            CONNECT,
            target.resource,
            target.namespace,
            target.name,
            _options(request, target, kind[2]),
            None,
            subresource,
            kind,
        )
        await self.extensions.mutate(asked)
        await self.extensions.validate(asked)

    def guarded(self, serve: Serve, api_version: str, kind: str, older: Sequence[str] = ()) -> Serve:
        """A handler that creates something, behind the extensions; they see and may change its body."""

        async def ask(request: Request, target: Target) -> Outcome:
            if self.extensions.concern(target.resource, target.subresource_name, CREATE):
                request = await self._admitted(request, target, api_version, kind, older)
            return await serve(request, target)

        return ask

    async def _admitted(
        self, request: Request, target: Target, api_version: str, kind: str, older: Sequence[str]
    ) -> Request:
        body = decoding.decode_as(request, api_version, kind, older)
        group, _, version = api_version.rpartition("/")
        name = target.name or (body.get("metadata") or {}).get("name", "")
        asked = Attributes(
            request,
            CREATE,
            target.resource,
            target.namespace,
            name,
            body,
            subresource=target.subresource_name,
            kind=(group, version, kind),
            dry_run=request.dry_run,
        )
        await self.extensions.mutate(asked)
        await self.extensions.validate(asked)
        headers = {**request.headers, "content-type": JSON}
        return dataclasses.replace(request, headers=headers, body=json.encode(asked.current))


def _options(request: Request, target: Target, kind: str) -> Object:
    """The options object that Kubernetes makes of the query."""
    query = request.query
    options: Object = {"kind": kind, "apiVersion": "v1"}
    if kind.endswith("ProxyOptions"):
        # the query is meant for whoever is behind the proxy
        _, _, path = request.path.partition(f"/{target.resource.plural}/{target.name}/proxy")
        return options | {"path": path} if path else options
    for name in FLAGS:
        if name in query:
            options[name] = query.flag(name)
    for name in ("container", "path"):
        if query.get(name):
            options[name] = query.get(name)
    if query.all("command"):
        options["command"] = query.all("command")
    if query.all("ports"):
        options["ports"] = [int(part) for text in query.all("ports") for part in text.split(",") if part.isdigit()]
    return options
