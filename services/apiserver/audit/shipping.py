"""Sends audit events to a webhook in batches, beside the requests they are about and never in their way.

What Kubernetes calls the webhook backend in batch mode (--audit-webhook-*): a buffer that loses what does not fit,
batches that go when they are full or old enough, and some tries for each.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import aiohttp

from services.apiserver.audit import instruments
from services.apiserver.audit.batching import Batching
from services.apiserver.audit.receiver import Receiver

log = logging.getLogger(__name__)

TRIES = 5
BACKOFF_FACTOR = 1.5
INTERVAL_S = 0.1
"""Least time between two batches (--audit-webhook-batch-throttle-qps 10)."""
ANSWER_LIMIT_S = 30.0
LAST_LIMIT_S = 5.0
"""How long the end of the process waits for the last batch."""
LIST_HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
EVENT_HEAD = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",'


class Shipper:
    """`write` queues an event, `run` sends them until cancelled, `close` sends what is left."""

    def __init__(
        self, receiver: Receiver, batching: Batching, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._receiver = receiver
        self._batching = batching
        self._sleep = sleep
        self._queue: deque[bytes] = deque()
        self._some, self._full = asyncio.Event(), asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._in_flight: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Queue a line; one that does not fit is lost and counted."""
        if len(self._queue) >= self._batching.buffer:
            instruments.ERRORS.labels("webhook").inc()
            return
        self._queue.append(line)
        self._some.set()
        if len(self._queue) >= self._batching.size:
            self._full.set()

    async def run(self) -> None:
        """Send batches until cancelled."""
        while True:
            await self._some.wait()
            try:
                async with asyncio.timeout(self._batching.wait):
                    await self._full.wait()
            except TimeoutError:
                pass
            await self._ship()
            await self._sleep(INTERVAL_S)

    async def close(self) -> None:
        """Try once to send what is left, the batch that was on its way included, and close the connection."""
        left = [*self._in_flight, *self._queue]
        try:
            async with asyncio.timeout(LAST_LIMIT_S):
                if left:
                    await self._post(left)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            self._lose(left, exc)
        finally:
            if self._session is not None:
                await self._session.close()

    async def _ship(self) -> None:
        """Send one batch, with some tries."""
        count = min(len(self._queue), self._batching.size)
        batch = self._in_flight = [self._queue.popleft() for _ in range(count)]
        if len(self._queue) < self._batching.size:
            self._full.clear()
        if not self._queue:
            self._some.clear()
        delay = self._batching.backoff
        for left in reversed(range(TRIES)):
            try:
                await self._post(batch)
                break
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                if not left:
                    self._lose(batch, exc)
                    break
                log.info("the audit webhook did not take a batch, trying again in %.1f s: %s", delay, exc)
            await self._sleep(delay)
            delay *= BACKOFF_FACTOR
        self._in_flight = []

    def _lose(self, batch: list[bytes], exc: Exception) -> None:
        instruments.ERRORS.labels("webhook").inc(len(batch))
        log.error("%d audit events are lost, the webhook does not take them: %s", len(batch), exc or type(exc).__name__)

    async def _post(self, batch: list[bytes]) -> None:
        if self._session is None:
            limit = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
            self._session = aiohttp.ClientSession(timeout=limit, headers={"user-agent": "kube-apiserver-audit"})
        headers = {"content-type": "application/json", **self._receiver.headers}
        items = (EVENT_HEAD[:1] + one[len(EVENT_HEAD) :] if one.startswith(EVENT_HEAD) else one for one in batch)
        body = b"%b%b]}" % (LIST_HEAD, b",".join(one.rstrip() for one in items))
        context = self._receiver.context or True
        async with self._session.post(self._receiver.url, data=body, headers=headers, ssl=context) as response:
            if response.status >= 300:
                raise ValueError(f"the server answered {response.status} {response.reason}")
