"""All pods of the node: from checkpoints, from the keeper and from the API, each to its own worker.

The agent begins with its own memory and what the keeper holds. Only what the API has said since is able to take a pod
away: as long as the API is silent, nothing is.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent import metrics, trees
from services.nodeagent.checkpoint.arrivals import ANNOTATION
from services.nodeagent.layout import sandbox_id
from services.nodeagent.pods import cleaning, specs, static
from services.nodeagent.pods.containers import UID_LABEL
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.records import Phase, PodRecord
from services.nodeagent.pods.worker import PodWorker
from services.nodeagent.references import Key
from services.nodeagent.runtime.model import ContainerState
from shared.errors import Conflict, NetworkError, RuntimeFailure
from shared.objects import meta

log = logging.getLogger(__name__)

# the container runtime interface has no word for a container that is being started
_STATE_NAMES = {Phase.STARTING: "created"}


class Reconciler(Protocol):
    """The part of the pod network that finds out about leftovers."""

    async def reconcile(self, live_sandbox_ids: set[str]) -> set[str]: ...
    async def detach(self, sandbox_id: str) -> None: ...


class PodManager:
    """Owns the workers. `run` first, then the events.

    `mirrors` are the objects by which static pods show in the API, by namespace and name; `mirrors_changed` is called
    when they, or the static pods themselves, change.
    """

    def __init__(self, network: Reconciler) -> None:
        self.workers: dict[str, PodWorker] = {}
        self.mirrors: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.mirrors_changed: Callable[[], None] = lambda: None
        self._static: dict[tuple[str, str], Mapping[str, Any]] | None = None
        self._returning: dict[str, Mapping[str, Any]] = {}
        self._network = network
        self._tools: Facilities | None = None
        self._group: asyncio.TaskGroup | None = None
        self._started = asyncio.Event()
        self._rescan = asyncio.Event()

    async def run(self, tools: Facilities) -> None:
        """Adopt what is there and work until cancelled."""
        self._tools = tools
        await trees.remove_all(tools.layout.pod_captures)
        with metrics.relist_duration.time():
            sandboxes, containers = await tools.runtime.list()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for checkpoint in tools.checkpoints.load():
                uid = checkpoint.record.uid
                worker = self._add(checkpoint.pod, checkpoint.record)
                if static.is_static(checkpoint.pod):
                    worker.revive()
                worker.adopt(
                    [s for s in sandboxes if s.labels.get(UID_LABEL) == uid],
                    [c for c in containers if c.labels.get(UID_LABEL) == uid],
                )
                self._launch(worker)
            log.info("%d pods known from before", len(self.workers))
            self._started.set()
            while True:
                await self._rescan.wait()
                self._rescan.clear()
                try:
                    await self._adopt_again()
                except RuntimeFailure as exc:
                    # it went away once more, and its next return brings us back here
                    log.warning("pods are not adopted again yet: %s", exc)

    async def wait_started(self) -> None:
        """Wait until the pods known from before have workers; events must not come earlier."""
        await self._started.wait()

    def pod_changed(self, kind: str, pod: dict[str, Any], old: dict[str, Any] | None) -> None:
        """An event of the pod informer."""
        uid = pod["metadata"]["uid"]
        if static.mirror_hash(pod) or static.mirror_hash(old or pod):
            self._mirror_changed(kind, pod)
            return
        if old is not None and old["metadata"]["uid"] != uid:
            self._removed(old["metadata"]["uid"])
        self._returning.pop(uid, None)
        worker = self.workers.get(uid)
        if kind == "DELETED":
            self._removed(uid)
        elif worker is not None and (worker.removed or not self._is_expected(worker, pod)):
            worker.remove()
            self._returning[uid] = pod  # it has moved away and back before it was gone from here
        elif worker is not None:
            worker.update(pod)
        else:
            self._new(pod)

    def expect(self, pod: Mapping[str, Any]) -> PodWorker:
        """Make a pod from its checkpoint before the API says that it is this node's: until then it stays frozen, and
        `discard` takes it away again. RuntimeFailure if its checkpoint is not here, Conflict if the pod is."""
        tools = self._facilities()
        if pod["metadata"]["uid"] in self.workers:
            raise Conflict(f"node {tools.node.name} still has something of pod {meta.name(pod)}; try again")
        record = tools.arrivals.record(pod)
        if not record.restored_from:
            raise RuntimeFailure(f"the checkpoint of pod {meta.name(pod)} cannot be used")
        record.awaiting = True
        tools.checkpoints.save_pod(pod, durable=True)
        tools.checkpoints.save_record(record)
        worker = self._add(pod, record)
        self._launch(worker)
        return worker

    def discard(self, worker: PodWorker) -> None:
        """Remove a pod that was expected, unless it has come."""
        if worker.record.awaiting:
            worker.remove()

    @staticmethod
    def _is_expected(worker: PodWorker, pod: Mapping[str, Any]) -> bool:
        """Whether a pod begins with the checkpoint that its worker has restored, if it has one."""
        identity = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
        return not worker.record.awaiting or worker.record.restored_from == identity

    async def pods_synced(self, present: set[str]) -> None:
        """The API's whole view was read: `present` are the uids of this node's pods; what is not among them ends."""
        for uid, worker in list(self.workers.items()):
            if uid not in present and not static.is_static(worker.pod):
                self._removed(uid)
        await self._remove_orphans()

    def set_static(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Run exactly these pods of the node's own; each waits until an earlier one of its name is gone."""
        self._static = {meta.key(pod): pod for pod in pods}
        wanted = {pod["metadata"]["uid"] for pod in self._static.values()}
        for worker in self.static_workers():
            if worker.record.uid not in wanted:
                worker.remove()
        self._start_static()

    def static_workers(self) -> list[PodWorker]:
        """The static pods that run, or are meant to."""
        return [worker for worker in self.workers.values() if static.is_static(worker.pod) and not worker.removed]

    def revive_static(self) -> None:
        """Run the static pods again that the node's shutdown has ended: their files are still there."""
        for worker in self.static_workers():
            worker.revive()

    async def wait_published(self) -> None:
        """Wait until the API has the newest status of every pod."""
        for uid in list(self.workers):
            await self._facilities().publisher.wait_published(uid)

    def _start_static(self) -> None:
        busy = {meta.key(worker.pod) for worker in self.workers.values() if static.is_static(worker.pod)}
        for place, pod in (self._static or {}).items():
            if place not in busy:
                self._new(pod)
                self._tell_mirror(place)
        self.mirrors_changed()

    def _mirror_changed(self, kind: str, pod: Mapping[str, Any]) -> None:
        place = meta.key(pod)
        if kind == "DELETED":
            self.mirrors.pop(place, None)
        else:
            self.mirrors[place] = pod
        self._tell_mirror(place)
        self.mirrors_changed()

    def _tell_mirror(self, place: tuple[str, str]) -> None:
        """Let the status of a static pod go to its mirror."""
        for worker in self.static_workers():
            if meta.key(worker.pod) == place:
                mirror = self.mirrors.get(place)
                fits = mirror is not None and static.mirror_hash(mirror) == worker.record.uid
                self._facilities().publisher.show_at(worker.record.uid, mirror if fits else None)

    def container_exited(self, state: ContainerState) -> None:
        worker = self.workers.get(state.labels.get(UID_LABEL, ""))
        if worker is not None:
            worker.container_exited(state)

    def objects_changed(self, key: Key, uids: set[str]) -> None:
        for uid in uids:
            if uid in self.workers:
                self.workers[uid].objects_changed()

    def keeper_returned(self) -> None:
        """The connection to the keeper was lost and is back: what it holds may have changed."""
        self._rescan.set()

    def find(self, namespace: str, name: str, uid: str = "") -> PodWorker | None:
        """The worker of a pod by name, and by uid if that is given."""
        for worker in self.workers.values():
            layout = worker.setting.layout
            known = {"", layout.uid}
            if static.is_static(worker.pod) and (mirror := self.mirrors.get((namespace, name))) is not None:
                known.add(meta.uid(mirror))
            if (layout.namespace, layout.name) == (namespace, name) and uid in known:
                return worker
        return None

    def mounts(self, path: Path) -> bool:
        """Whether a pod that is not cleaned up yet has `path` as a volume."""
        return any(
            path in worker.setting.volumes.values() for worker in self.workers.values() if not worker.record.cleaned
        )

    def counts(self) -> tuple[int, dict[str, int]]:
        """Pods with a running sandbox, and containers by state; safe to call from another thread."""
        states = {"created": 0, "running": 0, "exited": 0}
        running = 0
        for worker in tuple(self.workers.values()):
            running += worker.record.sandbox_ready
            for container in tuple(worker.record.containers.values()):
                if container.phase is not Phase.ABSENT:
                    states[_STATE_NAMES.get(container.phase, container.phase.value)] += 1
        return running, states

    def _facilities(self) -> Facilities:
        if self._tools is None:
            raise RuntimeError("the pod manager does not run")
        return self._tools

    def _new(self, pod: Mapping[str, Any]) -> None:
        tools = self._facilities()
        record = tools.arrivals.record(pod)
        worker = self._add(pod, record)
        if record.restored_from:
            tools.checkpoints.save_pod(pod, durable=True)
            tools.checkpoints.save_record(record)
        else:
            worker.adopt([], [])
        # The end of a pod of which this node remembers nothing is not told again.
        worker.mute = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        self._launch(worker)

    def _add(self, pod: Mapping[str, Any], record: PodRecord) -> PodWorker:
        worker = self.workers[record.uid] = PodWorker(pod, record, self._facilities())
        return worker

    def _launch(self, worker: PodWorker) -> None:
        if self._group is None:
            raise RuntimeError("the pod manager does not run")
        layout = worker.setting.layout
        self._group.create_task(self._work(worker), name=f"pod {layout.namespace}/{layout.name}")

    async def _work(self, worker: PodWorker) -> None:
        await worker.run()
        if worker.record.awaiting:
            self._facilities().arrivals.again(worker.record)
        await cleaning.forget(self._facilities(), worker.setting)
        metrics.forget_pod(worker.record.uid)
        del self.workers[worker.record.uid]
        if (pod := self._returning.pop(worker.record.uid, None)) is not None:
            self._new(pod)
        if self._static is not None:
            self._start_static()

    def _removed(self, uid: str) -> None:
        worker = self.workers.get(uid)
        if worker is not None:
            worker.remove()

    async def _adopt_again(self) -> None:
        with metrics.relist_duration.time():
            sandboxes, containers = await self._facilities().runtime.list()
        for uid, worker in self.workers.items():
            worker.adopt(
                [s for s in sandboxes if s.labels.get(UID_LABEL) == uid],
                [c for c in containers if c.labels.get(UID_LABEL) == uid],
            )

    async def forget_checkpoints(self) -> None:
        """Remove checkpoints that came to this node and that no pod begins with; to be called now and then."""
        used = {worker.record.restored_from for worker in self.workers.values() if worker.record.restoring}
        await self._facilities().arrivals.forget_unused(used)

    async def _remove_orphans(self) -> None:
        """Sandboxes, addresses and directories that belong to no pod any more."""
        tools = self._facilities()
        sandboxes, _ = await tools.runtime.list()
        for sandbox in sandboxes:
            if sandbox.labels.get(UID_LABEL) in self.workers:
                continue
            log.info("removing sandbox %s of a pod that is gone", sandbox.id[:12])
            try:
                await self._network.detach(sandbox.id)
                await tools.runtime.remove_sandbox(sandbox.id)
            except (RuntimeFailure, NetworkError) as exc:
                log.warning("sandbox %s stays for now: %s", sandbox.id[:12], exc)
        live = {
            sandbox_id(uid, worker.record.sandbox_attempt)
            for uid, worker in self.workers.items()
            if worker.record.sandbox_ready and not specs.is_host_network(worker.pod)
        }
        beginning = {
            sandbox_id(uid, worker.record.sandbox_attempt)
            for uid, worker in self.workers.items()
            if worker.record.sandbox_attempt >= 0 and not worker.record.cleaned
        }
        try:
            lost = await self._network.reconcile(live | beginning)
        except NetworkError as exc:
            log.warning("pod network: %s", exc)
            lost = set()
        for uid, worker in self.workers.items():
            if sandbox_id(uid, worker.record.sandbox_attempt) in lost & live:
                worker.reconnect()
        for uid in tools.checkpoints.uids():
            if uid not in self.workers:
                await asyncio.to_thread(tools.checkpoints.forget, uid)
        await self.forget_checkpoints()
        known = {c.container_id for worker in self.workers.values() for c in worker.record.containers.values()}
        await trees.remove_all(*(path for path in tools.layout.containers.glob("*") if path.name not in known))
