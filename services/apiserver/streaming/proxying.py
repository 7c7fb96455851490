"""pods/NAME/proxy and services/NAME/proxy: HTTP to a port of a pod, by way of the node's port-forward stream.

Nodes only dial out, so the API server cannot connect to a pod itself; a request is written to the stream that
port-forward uses, and the answer is read from it as it comes. NAME is `[scheme:]name[:port]`, as in Kubernetes.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import httptools

from services.apiserver.failures import bad_request
from services.apiserver.protocol import Object, Outcome, Raw, Request, Stream
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.streaming.places import place_of
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import ApiError, ServiceUnavailable, StreamBroken
from shared.objects import registry
from shared.objects.registry import Resource

INWARD, OUTWARD = 0, 1
PIECE = 64 << 10
PATH_CHARACTERS = "/:@!$&'()*+,;=~"
NO_BODY = (204, 304)
# of one connection only (RFC 9110, 7.6.1), or about the caller of the API and not of the pod
NOT_PASSED_ON = frozenset(
    (
        *(
            "connection",
            "expect",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "upgrade",
        ),
        *("authorization", "content-length", "host", "transfer-encoding"),
    )
)
NOT_PASSED_BACK = NOT_PASSED_ON | {"cache-control", "content-type", "date", "location"}


@dataclass(frozen=True, slots=True)
class Name:
    """What the name in the path stands for; scheme and port are "" if they are left out."""

    scheme: str
    name: str
    port: str


def split_name(text: str) -> Name:
    """Read `[scheme:]name[:port]`; BadRequest if it is none."""
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
        raise bad_request(f'invalid proxy target "{text}": name it [http:]name[:port]')
    if found.scheme == "https":
        raise bad_request(f'the proxy to "{text}" speaks http only: use port-forward for https')
    return found


@dataclass(slots=True)
class Answer:
    """What the pod has answered so far; filled by the parser's callbacks."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    begun: bool = False
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def take(self) -> bytes:
        data = b"".join(self.body)
        self.body.clear()
        return data


@dataclass(frozen=True, slots=True)
class Proxy:
    """Serves the proxy subresources, for every method."""

    bus: Bus
    store: Store

    async def pod(self, request: Request, target: Target) -> Outcome:
        """Pass a request on to a pod: to the port named, or its first."""
        asked = split_name(target.name)
        pod = (await self.store.latest(target.resource, target.namespace, asked.name)).object
        return await self._pass_on(request, target, pod, _pod_port(asked.port, pod))

    async def service(self, request: Request, target: Target) -> Outcome:
        """Pass a request on to one of a service's ready pods; ServiceUnavailable if there is none."""
        asked = split_name(target.name)
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
        return await self._pass_on(request, target, pod, port)

    async def _pass_on(self, request: Request, target: Target, pod: Object, port: int) -> Outcome:
        prefix, path = split_path(request.path, target)
        if not path:
            # links on a page are relative to its directory
            return Raw(b"", "text/plain", 301, (("Location", f"{prefix}/"),))
        place = place_of(pod, pod["spec"]["containers"][0]["name"])
        try:
            stream = await open_stream(self.bus, place.node, "portforward", place.parameters() | {"port": port})
        except ApiError as exc:
            raise ServiceUnavailable(f"error trying to reach service: {exc.message}") from exc
        try:
            data = written(request, path, f"{place.pod}:{port}", prefix)
            for start in range(0, len(data), PIECE):
                await stream.send(INWARD, data[start : start + PIECE])
            answer = Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.begun and await _read(stream, parser):
                pass
            if not answer.begun:
                raise ServiceUnavailable("error trying to reach service: the connection ended before an answer")
        except (StreamBroken, httptools.HttpParserError) as exc:
            await stream.close()
            raise ServiceUnavailable(f"error trying to reach service: {exc}") from exc
        except BaseException:
            await stream.close()
            raise
        status, headers = parser.get_status_code(), passed_back(answer, prefix)
        kind = answer.header("content-type") or "application/octet-stream"
        if status in NO_BODY or (answer.complete and not answer.body):
            await stream.close()
            return Raw(b"", kind, status, headers)
        return Stream(_body(stream, parser, answer), kind, stream.close, status, headers)


def split_path(path: str, target: Target) -> tuple[str, str]:
    """The part of a request's path up to `proxy`, and what lies behind it for the pod, both quoted."""
    head = f"/{target.resource.plural}/{target.name}/proxy"
    before, _, rest = path.partition(head)
    return quote(before + head, PATH_CHARACTERS), quote(rest, PATH_CHARACTERS)


def written(request: Request, path: str, host: str, prefix: str) -> bytes:
    """The request as the pod receives it."""
    query = request.query.encoded()
    lines = [f"{request.method} {path}{'?' if query else ''}{query} HTTP/1.1", f"Host: {host}", "Connection: close"]
    for name, value in request.headers.items():
        if name not in NOT_PASSED_ON and not name.startswith("impersonate-"):
            lines.append(f"{name}: {value}")
    lines += [f"X-Forwarded-Uri: {prefix}{path}", "X-Forwarded-Proto: https"]
    lines += [f"X-Forwarded-Host: {request.headers['host']}"] if "host" in request.headers else []
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + request.body


def passed_back(answer: Answer, prefix: str) -> tuple[tuple[str, str], ...]:
    """The answer's headers for the client, with a Location that leads back through the proxy."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in NOT_PASSED_BACK]
    location = answer.header("location")
    if location:
        url = urlsplit(location)
        if not url.netloc and url.path.startswith("/"):
            location = prefix + location
        headers.append(("Location", location))
    return tuple(headers)


async def _read(stream: BusStream, parser: httptools.HttpResponseParser) -> bool:
    """Feed the parser with what comes next; False at the end."""
    async for channel, data in stream:
        if channel == OUTWARD:
            parser.feed_data(data)
            return True
    return False


async def _body(stream: BusStream, parser: httptools.HttpResponseParser, answer: Answer) -> AsyncIterator[bytes]:
    if data := answer.take():
        yield data
    while not answer.complete and await _read(stream, parser):
        if data := answer.take():
            yield data


def _pod_port(asked: str, pod: Object) -> int:
    if asked:
        if not asked.isdigit() or not 0 < int(asked) < 65536:
            raise bad_request(f'invalid port "{asked}": the proxy to a pod takes numbers from 1 to 65535')
        return int(asked)
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            return int(port["containerPort"])
    return 80


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
