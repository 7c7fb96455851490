"""Fairness under overload: how many requests are worked on at once, and whose turn it is when there are more.

A small form of Kubernetes' API priority and fairness (KEP-1040). Reading and changing requests have seats of their own.
Who finds none waits in the queue of his user, and a seat that becomes free goes to the users in turn, so that one with
five hundred connections costs the others no more than one does. A queue that is full means 429.
"""

import asyncio
from collections import OrderedDict, deque

from services.apiserver import instruments
from services.apiserver.failures import too_many
from services.apiserver.protocol import Request
from services.apiserver.routes import is_proxied
from shared.identity.users import SERVICE_ACCOUNT_PREFIX

READING_SEATS = 200
CHANGING_SEATS = 100
QUEUE = 200

# a server that cannot tell how it is, or a node that cannot say that it lives, would make an overload an outage
EXEMPT_PATHS = ("/healthz", "/livez", "/readyz", "/metrics")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/"
SYSTEM_NAMESPACES = ("kube-node-lease", "kube-system")
SYSTEM_USERS = ("system:kube-", "system:wherry:", f"{SERVICE_ACCOUNT_PREFIX}kube-system:")


class Seats:
    """One kind of seats: a request takes one with `enter`, waiting if need be, and gives it back with `leave`."""

    def __init__(self, kind: str, seats: int, queue: int = QUEUE) -> None:
        self._seats = self._free = seats
        self._queue = queue
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        # looked at when somebody asks: counting along would cost more than taking a seat
        instruments.INFLIGHT.labels(kind).set_function(lambda: self._seats - self._free)
        instruments.QUEUED.labels(kind).set_function(lambda: sum(map(len, list(self._waiting.values()))))
        self._rejected = instruments.REJECTED.labels(kind)

    def take(self) -> bool:
        """Take a seat if one is free, without waiting."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def enter(self, user: str) -> None:
        """Wait for a seat. TooManyRequests if too many requests of this user wait already."""
        if self._free > 0:
            self._free -= 1
            return
        line = self._waiting.get(user) or deque()
        if len(line) >= self._queue:
            self._rejected.inc()
            raise too_many("Too many requests, please try again later.")
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        self._waiting[user] = line
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # the seat was given in the same moment
                self.leave()
            elif turn in line:
                line.remove(turn)
                if not line:
                    self._waiting.pop(user, None)
            raise

    def leave(self) -> None:
        """Give the seat to the next user in turn."""
        while self._waiting:
            user, line = self._waiting.popitem(last=False)
            turn = line.popleft()
            if line:
                self._waiting[user] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Flow:
    """The seats of a process."""

    def __init__(self, reading: int = READING_SEATS, changing: int = CHANGING_SEATS, queue: int = QUEUE) -> None:
        self.reading = Seats("readOnly", reading, queue)
        self._changing = Seats("mutating", changing, queue)

    def seats(self, request: Request) -> Seats | None:
        """The seats that a request needs one of; None if it is exempt."""
        if is_exempt(request):
            return None
        return self.reading if request.method in ("GET", "HEAD") else self._changing


def is_exempt(request: Request) -> bool:
    """Whether a request is served however many others there are: health, metrics, and the leases by which nodes and
    system services show that they live; and what is passed on, which takes as long as others want."""
    path = request.path
    if path.startswith(EXEMPT_PATHS) or is_proxied(path):
        return True
    if not path.startswith(LEASES) or path.removeprefix(LEASES).partition("/")[0] not in SYSTEM_NAMESPACES:
        return False
    return request.user.node is not None or request.user.name.startswith(SYSTEM_USERS)
