"""The short way of the most frequent request: the get of one object, as JSON, by a caller who has asked before.

All that is found out on the long way about a head that comes again byte by byte - its headers, the caller, what he
accepts - is remembered with it, and what is asked for with the path up to the name. Everything is decided here as it is
there: credentials that expire or whose objects are gone, what the caller may do, a seat among the reading requests, and
the barrier of a consistent read. Where anything is unusual - and be it only that the answer is not 200 - nothing is
done, and the request goes the long way. No task, no future and no parser has a part in this.
"""

import re
import time
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import Counter, Histogram

from services.apiserver import conversion, instruments, negotiation, routes
from services.apiserver.auth.authentication import Authenticator, Known
from services.apiserver.flow import Flow, Seats
from services.apiserver.http import answers
from services.apiserver.http.arrivals import Arrival
from services.apiserver.negotiation import Accepted
from services.apiserver.pipeline import Pipeline
from services.apiserver.protocol import JSON
from services.apiserver.routes import Attributes, Target
from shared.errors import ApiError, StateError
from shared.events.subjects import Ref
from shared.identity.users import User
from shared.objects.registry import Resource
from shared.state.cache import Cache

# clients send the same head with each request; whoever comes with another one each time must not fill the memory
MOST_HEADS: Final = 512
LONGEST_HEAD: Final = 8 << 10
MOST_PLANS: Final = 1024
END: Final = b"\r\n\r\n"
AT_ANY: Final = b"resourceVersion=0"
# headers that make more of a request than its line tells
UNUSUAL: Final = frozenset(
    (
        "audit-id",
        "connection",
        "upgrade",
        "expect",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "te",
        "trailer",
    )
)
PLAIN: Final = Accepted(JSON)
ANY_NAME: Final = "name"

_name = re.compile(rb"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?").fullmatch
_request = re.compile(rb"GET (/[!-~]{1,1024})/([!-.0-~]{1,280}) HTTP/1\.1\r\n").match


@dataclass(frozen=True, slots=True)
class Head:
    """The headers of a request, by lower-case name, and the caller they name."""

    headers: dict[str, str]
    known: Known


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for by a path up to the name, and where it is counted."""

    resource: Resource
    namespace: str
    cache: Cache
    counter: Counter
    histogram: Histogram

    def attributes(self, name: str) -> Attributes:
        """What the authorizer sees of the get of one object."""
        return routes.attributes(Target(self.resource, self.namespace, name, None, False), "get", "")


class Client(Protocol):
    """The connection that a request came by."""

    certified: User | None

    @property
    def is_full(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def begin_short(self) -> None:
        """An answer is on its way: nothing else is to be served before."""

    def end_short(self, unserved: Arrival | None) -> None:
        """It has been written; or the request goes the long way."""


class Gets:
    """What is remembered, and the answers. `serve` and `remember` get what arrived in one piece."""

    def __init__(self, pipeline: Pipeline, authenticator: Authenticator, flow: Flow) -> None:
        self._authenticator = authenticator
        self._authorizer = pipeline.authorizer
        self._pipeline = pipeline
        self._seats = flow.reading
        self._heads: dict[bytes, Head] = {}
        self._plans: dict[bytes, Plan | None] = {}

    def remember(self, arrival: Arrival, data: bytes) -> None:
        """Take note of a request that the parser made of `data` and of nothing else, for the next one like it."""
        line = _request(data)
        if line is None:
            return
        block = data[line.end() :]
        if block in self._heads or len(block) > LONGEST_HEAD or block.find(END) != len(block) - len(END):
            return
        headers = arrival.headers
        if arrival.close or arrival.size or arrival.pairs or not UNUSUAL.isdisjoint(headers):
            return
        try:
            if negotiation.accept(headers.get("accept", "")) != PLAIN:
                return
            known = self._authenticator.remember(headers)
        except ApiError:
            return
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        self._heads[block] = Head(dict(headers), known)

    def serve(self, client: Client, data: bytes) -> bool:
        """Answer a request, now or behind a barrier; False if it has to go the long way, and nothing was done."""
        line = _request(data)
        if line is None:
            return False
        head = self._heads.get(data[line.end() :])
        # an audit log tells of more than is known here
        if head is None or client.is_full or self._pipeline.auditor is not None:
            return False
        path, last = line.groups()
        name, _, query = last.partition(b"?")
        if (query and query != AT_ANY) or not _name(name):
            return False
        plan = self._plans[path] if path in self._plans else self._plan(path)
        user = client.certified or self._authenticator.recall(head.known)
        if plan is None or user is None:
            return False
        text = name.decode()
        if not user.is_master and not self._authorizer.decide(user, plan.attributes(text)).allowed:
            return False
        if not self._seats.take():
            return False
        get = _Get(client, plan, text, head, line.group(1) + b"/" + last, self._seats)
        if query:
            return get.answer()
        if plan.cache.barriers is None or not plan.cache.barriers.wait(get.reached):
            self._seats.leave()
            return False
        client.begin_short()
        return True

    def _plan(self, path: bytes) -> Plan | None:
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        plan = self._plans[path] = self._make_plan(path)
        return plan

    def _make_plan(self, path: bytes) -> Plan | None:
        try:
            target = routes.resolve(f"{path.decode()}/{ANY_NAME}")
        except ApiError:
            return None
        if target is None or target.name != ANY_NAME or target.subresource is not None or target.watch:
            return None
        resource = target.resource
        # definitions of custom resources come and go, and what is served as it is not stored is made anew each time
        if resource.schema.custom is not None or conversion.storage_of(resource) is not resource:
            return None
        if not self._pipeline.is_plain_get(resource):
            return None
        return Plan(
            resource,
            target.namespace,
            self._pipeline.reader.store.stream(resource).cache,
            instruments.counted("GET", resource.group, resource.version, resource.plural, "", 200),
            instruments.timed("GET", resource.group, resource.plural),
        )


class _Get:
    """One get that is being answered, and has a seat."""

    __slots__ = ("began", "client", "head", "name", "plan", "seats", "url")

    def __init__(self, client: Client, plan: Plan, name: str, head: Head, url: bytes, seats: Seats) -> None:
        self.client = client
        self.plan = plan
        self.name = name
        self.head = head
        self.url = url
        self.seats = seats
        self.began = time.perf_counter()

    def reached(self, is_reached: bool) -> None:
        """The barrier has come back, or will not."""
        if is_reached and self.answer():
            self.client.end_short(None)
            return
        if not is_reached:
            self.seats.leave()
        arrival = Arrival()
        arrival.method, arrival.url, arrival.headers = "GET", self.url, dict(self.head.headers)
        self.client.end_short(arrival)

    def answer(self) -> bool:
        """Write the object as the cache has it, and give the seat back; False if there is none to write."""
        self.seats.leave()
        plan = self.plan
        resource = plan.resource
        record = plan.cache.get(Ref(resource.group, resource.plural, plan.namespace, self.name))
        if record is None:
            return False
        try:
            body = record.json
        except StateError:
            return False
        if len(body) > answers.PIECE_BYTES:
            return False
        for piece in answers.plain(body):
            self.client.write(piece)
        plan.counter.inc()
        plan.histogram.observe(time.perf_counter() - self.began)
        return True
