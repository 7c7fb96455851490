"""The collector's cycle: read some batches, write down what is about to go out, deliver, move the positions.

Why in rounds: one durable note for many batches, a bounded number of bytes in memory, and every container gets its turn
while one of them floods.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from services.logcollector import metrics
from services.logcollector.inotify import Inotify
from services.logcollector.outputs.port import Delivery, Output, OutputFailure
from services.logcollector.positions import Positions
from services.logcollector.tail import Batch, Tail
from services.logcollector.tree import Container, PodDirectory, Tree

log = logging.getLogger(__name__)

ROUND = 4
"""Batches of one round: half a megabyte of log, and as many messages on their way."""
LINGER_S = 0.05
"""Lines that come within this time travel together."""
PARTIAL_S = 5.0
"""After this an unfinished line is passed on as it is: a prompt, or the last words of a container."""
POD_FILE_S = 2.0
"""How long the first lines of a pod wait for its labels."""
BACKOFF_S = (0.5, 10.0)


class Collector:
    """Runs until cancelled. `health` is told whether deliveries succeed."""

    def __init__(
        self,
        tree: Tree,
        inotify: Inotify,
        positions: Positions,
        outputs: Sequence[Output],
        host: str,
        health: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._host = host
        self._tree = tree
        self._inotify = inotify
        self._positions = positions
        self._outputs = list(outputs)
        self._wake = asyncio.Event()
        self._waiting: dict[Tail, float] = {}
        self._undocumented: dict[str, float] = {}
        self._unlabelled: set[str] = set()
        self._health = health

    async def run(self) -> None:
        """Collect until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            self._tree.scan()
            self._take_events()
            while True:
                await self.drain()
                await self._wait()
                self._take_events()
        finally:
            loop.remove_reader(self._inotify.fd)
            self._tree.close()

    async def drain(self) -> None:
        """Deliver everything there is, round by round."""
        while batches := self._next_round():
            await self._deliver_round(batches)
            if any(not batch.is_small for batch in batches):
                self._take_events()  # a flood may go on for ever, new pods must be seen meanwhile
        self._store()
        self._measure()

    async def _wait(self) -> None:
        """Until something changes, or the time of an unfinished line or an unlabelled pod has come."""
        due = self.next_due()
        timeout = None if due is None else max(due - time.monotonic(), 0.0)
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            for pod in self._tree.pods.values():
                self._tree.dirty.update(dict.fromkeys(c.directory for c in pod.containers.values()))
            return
        await asyncio.sleep(LINGER_S)

    def next_due(self) -> float | None:
        """When (time.monotonic) the next unfinished line or unlabelled pod is not waited for any longer, None if never.

        What has gone meanwhile is forgotten: its time would be past for ever, and nobody would ever rest again.
        """
        if self._waiting:
            tails = set(self._tree.tails())
            self._waiting = {tail: due for tail, due in self._waiting.items() if tail in tails}
        present = {name for name, pod in self._tree.pods.items() if pod.containers}
        self._undocumented = {name: due for name, due in self._undocumented.items() if name in present}
        self._unlabelled &= present
        return min((*self._waiting.values(), *self._undocumented.values()), default=None)

    def _on_readable(self) -> None:
        # the descriptor stays readable until the events are taken, and would keep the loop spinning meanwhile
        asyncio.get_running_loop().remove_reader(self._inotify.fd)
        self._wake.set()

    def _take_events(self) -> None:
        self._wake.clear()
        for change in self._inotify.changes():
            self._tree.apply(change)
        asyncio.get_running_loop().add_reader(self._inotify.fd, self._on_readable)

    def _next_round(self) -> list[Batch]:
        batches: list[Batch] = []
        for directory in list(self._tree.dirty):
            if len(batches) >= ROUND:
                break
            container = self._tree.container(directory)
            if container is None:
                del self._tree.dirty[directory]
                continue
            if not self._is_documented(container.pod):
                continue
            del self._tree.dirty[directory]
            batch = self._next_batch(container)
            if batch is None:
                continue
            batches.append(batch)
            if not batch.is_small or len(container.tails) > 1 or batch.tail.is_deleted:
                # behind the others; a file read to its end is looked at again when inotify tells, so that lines of a
                # busy container travel together
                self._tree.dirty[directory] = None
        return batches

    def _next_batch(self, container: Container) -> Batch | None:
        """From the oldest file of a container that is not read to its end; finished ones are dropped on the way."""
        tails = container.ordered()
        for index, tail in enumerate(tails):
            deleted = tail.is_deleted
            closed = deleted or index < len(tails) - 1
            tail.pending()
            late = self._waiting.get(tail, float("inf")) <= time.monotonic()
            batch = tail.read(at_end=closed or late)
            if batch is not None:
                self._waiting.pop(tail, None)
                return batch
            if closed:
                self._waiting.pop(tail, None)
                self._tree.drop(container, tail)
                continue
            if tail.waiting:
                self._waiting.setdefault(tail, time.monotonic() + PARTIAL_S)
            else:
                self._waiting.pop(tail, None)
        return None

    def _is_documented(self, pod: PodDirectory) -> bool:
        """Whether labels are known, or were waited for long enough."""
        name = pod.directory.name
        self._tree.refresh(pod)
        if pod.pod.documented:
            self._undocumented.pop(name, None)
            self._unlabelled.discard(name)
            return True
        if name in self._unlabelled:
            return True
        now = time.monotonic()
        if self._undocumented.setdefault(name, now + POD_FILE_S) > now:
            return False
        del self._undocumented[name]
        self._unlabelled.add(name)
        return True

    async def _deliver_round(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            batch.tail.position.sending = batch.end
            batch.tail.position.force = batch.force
        self._store()
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(self._deliver(batch), name=f"deliver {batch.id}")
        for batch in batches:
            position = batch.tail.position
            position.offset, position.sending, position.force = batch.end, 0, False
            if not batch.tail.is_deleted:
                metrics.POSITION.labels(*metrics.TAIL, str(batch.tail.path)).set(batch.end)

    async def _deliver(self, batch: Batch) -> None:
        if not batch.parsed.records:
            return
        container = self._tree.container(batch.tail.path.parent)
        assert container is not None, "a container with an open file stays in the tree"
        pod = container.pod.pod
        metrics.INPUT_RECORDS.labels("kubernetes", self._host).inc(len(batch.parsed.records))
        delivery = Delivery(
            batch.id,
            pod.namespace,
            pod.name,
            batch.tail.container,
            pod.kubernetes(batch.tail.container, self._host),
            batch.parsed.records,
        )
        for output in self._outputs:
            await self._until_delivered(output, delivery, batch.size)

    async def _until_delivered(self, output: Output, delivery: Delivery, size: int) -> None:
        labels = (output.name, output.kind)
        pause, longest = BACKOFF_S
        metrics.QUEUE.labels(*labels).inc()
        try:
            while True:
                began = time.monotonic()
                metrics.WRITE_COUNT.labels(*labels).inc()
                try:
                    await output.deliver(delivery)
                    break
                except OutputFailure as exc:
                    self._health(False)
                    metrics.ERRORS.labels(*labels).inc()
                    log.warning("output %s: %s; trying again in %.1f s", output.name, exc, pause)
                finally:
                    metrics.FLUSH_TIME.labels(*labels).inc((time.monotonic() - began) * 1000)
                metrics.RETRY_WAIT.labels(*labels).set(pause)
                await asyncio.sleep(pause)
                metrics.RETRIES.labels(*labels).inc()
                pause = min(pause * 2, longest)
        finally:
            metrics.QUEUE.labels(*labels).dec()
        self._health(True)
        metrics.RETRY_WAIT.labels(*labels).set(0)
        metrics.EMIT_COUNT.labels(*labels).inc()
        metrics.EMIT_RECORDS.labels(*labels).inc(len(delivery.records))
        metrics.EMIT_SIZE.labels(*labels).inc(size)

    def _store(self) -> None:
        try:
            self._positions.store([p for p in self._tree.positions() if p.head])
        except OSError as exc:
            # a full disk must not stop the flow; what is sent twice after a crash then is dropped by its id or doubled
            log.warning("positions cannot be stored: %s", exc)

    def _measure(self) -> None:
        behind = sum(tail.pending() for tail in self._tree.tails())
        for output in self._outputs:
            metrics.BUFFER.labels(output.name, output.kind).set(behind)
