"""What a request and its outcome are, apart from the wire they travel on.

HTTP and the bus both turn what they receive into a `Request` and what comes back into their own form, so that every
rule of the API is written once. Handlers return one of the outcome classes or raise an `ApiError`.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from shared.errors import ApiError, BadRequest
from shared.identity.users import User
from shared.objects import times
from shared.objects.json import Decoded
from shared.objects.registry import Resource
from shared.state.cache import Record

if TYPE_CHECKING:
    from aiohttp import web

    from services.apiserver.routes import Target  # which is told in terms of requests
    from services.apiserver.streaming.pipes import Pipe

Object = dict[str, Any]

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES = (JSON, YAML, PROTOBUF)
TEXT_TYPES = (JSON, YAML)
"""What custom resources speak: nobody knows numbers for their fields."""


def quoted_path(path: str) -> str:
    """A decoded URL path as it stands in a request; what a browser would not quote is not quoted."""
    return quote(path, "/:@!$&'()*+,;=~")


class Query:
    """Query parameters: names to lists of values, the first one counting."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def get(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        return list(self._values.get(name, ()))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def encoded(self) -> str:
        """All parameters as a query string again."""
        return urlencode(self._values, doseq=True)

    def flag(self, name: str) -> bool:
        """True for 1, t, true and for a parameter without value, as strconv.ParseBool and Kubernetes read them."""
        if name not in self._values:
            return False
        return self.get(name).lower() not in ("0", "f", "false")


@dataclass(slots=True)
class Request:
    """One call: who, what, with which body. Header names are lower case. Warnings collect on the way."""

    user: User
    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: bytes
    warnings: list[str] = field(default_factory=list)
    # what the pipeline found it to ask for
    target: "Target | None" = None
    verb: str = ""
    # a large body that was decoded ahead, or why it cannot be
    decoded: Decoded | ApiError | None = None
    # the body instead of `body`, for who passes it on as it arrives
    inflow: AsyncIterator[bytes] | None = None
    # for the audit log: the address it came from, its id, and who acts as `user`
    peer: str = ""
    audit_id: str = ""
    impersonator: User | None = None
    # what is to be told of the request in the audit log; None while there is none
    annotations: dict[str, str] | None = None

    def note(self, key: str, value: str) -> None:
        """Add to what the audit log tells of the request; the first value of a key stays."""
        if self.annotations is not None:
            self.annotations.setdefault(key, value)

    def time_limit(self, most: float) -> float:
        """How long the answer may take, in seconds: the `timeout` parameter, as a Go duration, up to `most`.

        BadRequest if it is none.
        """
        if self.inflow is not None or "/proxy" in self.path:
            # how long that takes is up to whoever is behind the proxy
            return math.inf
        text = self.query.get("timeout")
        if not text:
            return most
        try:
            return min(times.seconds(text), most) or most
        except ValueError:
            raise BadRequest(f'invalid timeout specified in the request URL: time: invalid duration "{text}"') from None

    @property
    def agent(self) -> str:
        return self.headers.get("user-agent", "")

    @property
    def manager(self) -> str:
        """The field manager: the query parameter, or the name part of the user agent."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0] or "unknown"

    @property
    def dry_run(self) -> bool:
        return "dryRun" in self.query and "All" in self.query.all("dryRun")


class Item:
    """One object of a resource; `encoded` is its JSON if it is already at hand, and `source` then tells the object only
    if somebody asks."""

    __slots__ = ("_source", "encoded", "resource", "status")

    def __init__(
        self, resource: Resource, source: Object | Record, status: int = 200, encoded: bytes | None = None
    ) -> None:
        self.resource = resource
        self.status = status
        self.encoded = encoded
        self._source = source

    @property
    def object(self) -> Object:
        return self._source.object if isinstance(self._source, Record) else self._source


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects of a resource as of one revision, with the token that continues the list."""

    resource: Resource
    records: Sequence[Record]
    revision: int
    token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """An object that belongs to no resource: a Status, a Scale, a review."""

    object: Object
    status: int = 200


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are answered as they are.

    A long body may come in `parts` instead, many and small: they are joined a piece at a time as the client takes them,
    for each copy of megabytes costs more than all that is done to find them.
    """

    body: bytes
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    parts: Sequence[bytes | memoryview] = ()

    @property
    def whole(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.parts) if self.parts else self.body


class Event:
    """A watch event: `json` is the object's JSON, `line` what a watcher of whole objects is sent.

    All watchers of a resource share one, so that it is made once.
    """

    __slots__ = ("_object", "json", "line", "type")

    def __init__(self, type: str, json: bytes, obj: Object | None = None) -> None:  # noqa: A002
        self.type = type
        self.json = json
        self.line = b'{"type":"%b","object":%b}\n' % (type.encode(), json)
        self._object = obj

    @property
    def object(self) -> Object:
        """The object; decoded only for the few who are sent a part of it."""
        if self._object is None:
            self._object = msgspec.json.decode(self.json)
        return self._object


class Outlet(Protocol):
    """Where the events of a watch can go without its task: outlets of equal `form` encode events to the same bytes.

    Once it `is_full`, nothing is written until it has `drained`.
    """

    form: Hashable

    @property
    def is_full(self) -> bool: ...

    def encode(self, events: Sequence[Event]) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    async def drained(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Watching:
    """An open watch of a resource: batches of events until the iterator ends; `close` must be called in any case.

    A reader that has an outlet may `attach` it before it iterates: while it waits for a batch, events go there.
    """

    resource: Resource
    batches: AsyncIterator[list[Event]]
    close: Callable[[], None]
    attach: Callable[[Outlet], None] = lambda outlet: None


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes that arrive over time: container logs, what a proxied pod answers."""

    chunks: AsyncIterator[bytes]
    content_type: str = "text/plain"
    close: Callable[[], Awaitable[None]] | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A WebSocket: the protocols offered for choice, and what serves the connection once it is open."""

    protocols: tuple[str, ...]
    serve: "Callable[[web.WebSocketResponse], Awaitable[None]]"


STREAM_PROTOCOL = "X-Stream-Protocol-Version"


@dataclass(frozen=True, slots=True)
class ProtocolSwitch:
    """Another protocol on the bare connection, after a 101 answer with these headers: SPDY, or whatever a proxied pod
    speaks; and what serves it."""

    headers: tuple[tuple[str, str], ...]
    serve: "Callable[[Pipe], Awaitable[None]]"

    @classmethod
    def to_spdy(cls, protocol: str, serve: "Callable[[Pipe], Awaitable[None]]") -> "ProtocolSwitch":
        """SPDY/3.1 with the protocol that was agreed on."""
        return cls((("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), (STREAM_PROTOCOL, protocol)), serve)


Outcome = Item | Listing | Document | Raw | Watching | Stream | Upgrade | ProtocolSwitch
