"""pods/NAME/proxy, services/NAME/proxy and nodes/NAME/proxy: HTTP to a port of a pod, or to a node's own pages.

Nodes only dial out, so the API server cannot connect to any of them itself; a request is written to a stream like that
of port-forward, and the answer is read from it as it comes. NAME is `[scheme:]name[:port]`, as in Kubernetes.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from services.apiserver.failures import bad_request
from services.apiserver.protocol import Object, Outcome, Raw, Request, Stream, quoted_path
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.streaming.channels import OUTWARD, open_channel
from services.apiserver.streaming.exchanges import UNREACHABLE, Exchange, Route
from services.apiserver.streaming.places import place_of
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import ApiError, ServiceUnavailable, StreamBroken
from shared.objects import registry
from shared.objects.registry import Resource

HEAD = 3
READING = ("GET", "HEAD")
# where a node's own pages are found elsewhere, so that clients may name it
NODE_PORT = "10250"


@dataclass(frozen=True, slots=True)
class Name:
    """What the name in the path stands for; scheme and port are "" if they are left out."""

    scheme: str
    name: str
    port: str


def split_name(text: str, kind: str) -> Name:
    """Read `[scheme:]name[:port]`; BadRequest, which names the `kind` of target, if it is none."""
    parts = text.split(":")
    match parts:
        case [name]:
            found = Name("", name, "")
        case [name, port]:
            found = Name("", name, port)
        case [scheme, name, port]:
            found = Name(scheme, name, port)
        case _:
            found = Name("", "", "")
    if not found.name or found.scheme not in ("", "http", "https"):
        raise bad_request(f'invalid {kind} request "{text}": name it [http:|https:]name[:port]')
    return found


@dataclass(frozen=True, slots=True)
class Proxy:
    """Serves the proxy subresources, for every method."""

    bus: Bus
    store: Store

    async def pod(self, request: Request, target: Target) -> Outcome:
        """Pass a request on to a pod: to the port named, or its first."""
        asked = split_name(target.name, "pod")
        pod = (await self.store.latest(target.resource, target.namespace, asked.name)).object
        port = _port(asked.port) if asked.port else _first_port(pod)
        return await self._to_pod(request, target, pod, port, asked.scheme)

    async def service(self, request: Request, target: Target) -> Outcome:
        """Pass a request on to one of a service's ready pods; ServiceUnavailable if there is none."""
        asked = split_name(target.name, "service")
        service = (await self.store.latest(target.resource, target.namespace, asked.name)).object
        wanted = _service_port(asked, service)
        choices = []
        for record in self.store.list_objects(_served("discovery.k8s.io", "endpointslices"), target.namespace):
            labels = record.object["metadata"].get("labels") or {}
            if labels.get("kubernetes.io/service-name") == asked.name:
                choices += _ready(record.object, wanted)
        if not choices:
            raise ServiceUnavailable(f'no endpoints available for service "{target.name}"')
        name, port = random.choice(choices)
        pod = (await self.store.get(_served("", "pods"), target.namespace, name)).object
        return await self._to_pod(request, target, pod, port, asked.scheme)

    async def node(self, request: Request, target: Target) -> Outcome:
        """Answer one of the node's pages, or pass a request on to another port of the node."""
        asked = split_name(target.name, "node")
        node = (await self.store.latest(target.resource, "", asked.name)).object
        if asked.port not in ("", NODE_PORT):
            port = _port(asked.port)
            route = _route(request, target, f"{_address(node)}:{port}", asked.scheme)
            return _redirect(request, route) or await self._exchange(
                request, route, asked.name, "nodeport", {"port": port}
            )
        route = _route(request, target, "")
        if redirect := _redirect(request, route):
            return redirect
        _, path = _parts(request.path, target)
        stream = await self._open(asked.name, "page", {"method": request.method, "path": path or "/"})
        return await _page(stream, request.method)

    async def _to_pod(self, request: Request, target: Target, pod: Object, port: int, scheme: str) -> Outcome:
        route = _route(request, target, f"{pod['metadata']['name']}:{port}", scheme)
        if redirect := _redirect(request, route):
            return redirect
        place = place_of(pod, pod["spec"]["containers"][0]["name"])
        return await self._exchange(request, route, place.node, "portforward", place.parameters() | {"port": port})

    async def _exchange(self, request: Request, route: Route, node: str, op: str, params: dict[str, Any]) -> Outcome:
        stream = await self._open(node, op, params)
        try:
            channel = await open_channel(stream, route.host.rpartition(":")[0] if route.scheme == "https" else "")
        except StreamBroken as exc:
            raise ServiceUnavailable(f"{UNREACHABLE}: {exc}") from exc
        return await Exchange(channel, request, route).run()

    async def _open(self, node: str, op: str, params: dict[str, Any]) -> BusStream:
        try:
            return await open_stream(self.bus, node, op, params)
        except ApiError as exc:
            raise ServiceUnavailable(f"{UNREACHABLE}: {exc.message}") from exc


async def _page(stream: BusStream, method: str) -> Outcome:
    """A page of a node: its head on a channel of its own, then the body."""
    try:
        _, data = await anext(stream)
        head = msgspec.json.decode(data)
    except (StreamBroken, StopAsyncIteration, msgspec.DecodeError) as exc:
        await stream.close()
        raise ServiceUnavailable(f"{UNREACHABLE}: the node's answer broke off") from exc
    except BaseException:
        await stream.close()
        raise
    kind, status = str(head["contentType"]), int(head["status"])
    if method == "HEAD":
        await stream.close()
        return Raw(b"", kind, status)
    return Stream(_bytes(stream), kind, stream.close, status)


async def _bytes(stream: BusStream) -> AsyncIterator[bytes]:
    async for channel, data in stream:
        if channel == OUTWARD:
            yield data


def split_path(path: str, target: Target) -> tuple[str, str]:
    """The part of a request's path up to `proxy`, and what lies behind it for the other side, both quoted."""
    prefix, rest = _parts(path, target)
    return quoted_path(prefix), quoted_path(rest)


def _parts(path: str, target: Target) -> tuple[str, str]:
    head = f"/{target.resource.plural}/{target.name}/proxy"
    before, _, rest = path.partition(head)
    return before + head, rest


def _route(request: Request, target: Target, host: str, scheme: str = "") -> Route:
    prefix, path = split_path(request.path, target)
    return Route(prefix, path, host, scheme or "http")


def _redirect(request: Request, route: Route) -> Raw | None:
    """Links on a page are relative to its directory, so its URL must end with one."""
    if route.path or request.method not in READING or request.headers.get("upgrade"):
        return None
    query = request.query.encoded()
    return Raw(b"", "text/plain", 301, (("Location", f"{route.prefix}/{'?' if query else ''}{query}"),))


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise bad_request(f'invalid port "{text}": the proxy takes numbers from 1 to 65535 here')
    return int(text)


def _first_port(pod: Object) -> int:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            return int(port["containerPort"])
    return 80


def _address(node: Object) -> str:
    addresses = (node.get("status") or {}).get("addresses") or ()
    inner = (one["address"] for one in addresses if one["type"] == "InternalIP")
    return str(next(inner, node["metadata"]["name"]))


def _service_port(asked: Name, service: Object) -> str:
    """The name of the service's port, which is what endpoint slices know it by; "" for one without."""
    ports = service["spec"].get("ports") or []
    if not asked.port and len(ports) == 1:
        return str(ports[0].get("name", ""))
    for port in ports:
        if asked.port and asked.port in (port.get("name"), str(port["port"])):
            return str(port.get("name", ""))
    raise ServiceUnavailable(f'no service port "{asked.port}" found for service "{asked.name}"')


def _ready(endpoint_slice: Object, wanted: str) -> list[tuple[str, int]]:
    ports = [one["port"] for one in endpoint_slice.get("ports") or () if one.get("name", "") == wanted]
    found = []
    for endpoint in endpoint_slice.get("endpoints") or ():
        reference = endpoint.get("targetRef") or {}
        if ports and reference.get("kind") == "Pod" and (endpoint.get("conditions") or {}).get("ready", True):
            found.append((reference["name"], ports[0]))
    return found


def _served(group: str, plural: str) -> Resource:
    resource = registry.by_plural(group, "v1", plural)
    assert resource is not None
    return resource
