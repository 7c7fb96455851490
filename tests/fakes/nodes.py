"""A node without a kernel: fakes of everything that the agent's pod manager works with, and the manager on top.

`FakeNode` survives a crash of its agent: `crash` cancels everything at once and `boot` starts anew on the same
directories and the same runtime, as after kill -9.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.nodeagent.checkpoint.arrivals import Arrivals, FilledVolumes
from services.nodeagent.environment import NodeFacts
from services.nodeagent.events import Events
from services.nodeagent.handlers import Handlers
from services.nodeagent.images.model import Image
from services.nodeagent.layout import NodeLayout
from services.nodeagent.network.node import PodAddress
from services.nodeagent.pods import hooks, namespaces
from services.nodeagent.pods.checkpoint import Checkpoints
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.files import Resolver
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.publisher import StatusPublisher
from services.nodeagent.probes.prober import Outcome, Prober, Target
from services.nodeagent.references import References
from services.nodeagent.runtime.client import Impossible
from services.nodeagent.runtime.model import ContainerSpec, ContainerState, Resources, SandboxSpec, SandboxState
from services.nodeagent.volumes.hook import VolumesHook
from shared.errors import ImageError, NotFound, ServiceUnavailable
from shared.images.manifests import ImageConfig
from tests.slowness import LIMIT_S


async def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until `condition()` is true and return its value."""
    deadline = time.monotonic() + LIMIT_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come to be within {LIMIT_S:g} s")
        await asyncio.sleep(0.005)
    return value


class FakeInformer:
    """Follows one path of a FakeApi, with a `metadata.name` field selector if given."""

    def __init__(self, api: FakeApi, path: str, query: Mapping[str, Any] | None) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.on_change: Callable[[str, dict[str, Any], dict[str, Any] | None], None] | None = None
        self._api = api
        self._path = path
        selector = str((query or {}).get("fieldSelector", ""))
        self._name = selector.partition("metadata.name=")[2]
        self._synced = asyncio.Event()

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    async def run(self) -> None:
        self._api.informers.append(self)
        try:
            await self._api.up.wait()
            for path, obj in list(self._api.objects.items()):
                self.tell("ADDED", path, obj)
            self._synced.set()
            await asyncio.Event().wait()
        finally:
            self._api.informers.remove(self)

    def tell(self, kind: str, path: str, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        if not self._covers(path) or (self._name and metadata["name"] != self._name):
            return
        key = (metadata.get("namespace", ""), metadata["name"])
        old = self.items.get(key)
        if kind == "DELETED":
            self.items.pop(key, None)
        else:
            kind = "MODIFIED" if old is not None else "ADDED"
            self.items[key] = copy.deepcopy(obj)
        if self.on_change is not None:
            self.on_change(kind, copy.deepcopy(obj), old)

    def _covers(self, path: str) -> bool:
        collection = path.rpartition("/")[0]
        if collection == self._path:
            return True
        head, _, plural = self._path.rpartition("/")
        return collection.startswith(f"{head}/namespaces/") and collection.endswith(f"/{plural}")


class FakeApi:
    """Objects by path. `up` is cleared while the API is away."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.informers: list[FakeInformer] = []
        self.up = asyncio.Event()
        self.up.set()
        self.deletions: list[tuple[str, dict[str, Any] | None]] = []
        self.patches: list[tuple[str, Any]] = []
        self._revision = 0

    def informer(self, path: str, query: Mapping[str, Any] | None = None) -> FakeInformer:
        return FakeInformer(self, path, query)

    def put(self, path: str, obj: dict[str, Any]) -> None:
        self._revision += 1
        obj["metadata"]["resourceVersion"] = str(self._revision)
        self.objects[path] = obj
        if self.up.is_set():
            for informer in list(self.informers):
                informer.tell("MODIFIED", path, obj)

    def drop(self, path: str) -> None:
        obj = self.objects.pop(path)
        if self.up.is_set():
            for informer in list(self.informers):
                informer.tell("DELETED", path, obj)

    def _check(self, path: str = "") -> None:
        if not self.up.is_set():
            raise ServiceUnavailable("no API server answers")
        if path and path not in self.objects:
            raise NotFound(f"{path} not found")

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._check(path)
        return copy.deepcopy(self.objects[path])

    async def create(self, path: str, obj: dict[str, Any], query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._check()
        if path.endswith("/token"):
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            return {**obj, "status": {"token": "a.token", "expirationTimestamp": expires}}
        self.put(f"{path}/{obj['metadata']['name']}", obj)
        return obj

    async def update(self, path: str, obj: dict[str, Any], query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._check(path)
        self.put(path, obj)
        return obj

    async def patch(
        self, path: str, body: Any, kind: str = "merge", query: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        path = path.removesuffix("/status")
        self._check(path)
        self.patches.append((path, body))
        obj = copy.deepcopy(self.objects[path])
        if kind == "merge":
            obj["metadata"] |= {
                key: value for key, value in body.get("metadata", {}).items() if key != "resourceVersion"
            }
        status = obj.setdefault("status", {})
        for key, value in body.get("status", {}).items():
            if key == "conditions":
                status[key] = _merge_conditions(status.get(key) or [], value)
            elif key == "podIPs":
                status[key] = [entry for entry in value if "$patch" not in entry]
            elif value is None:
                status.pop(key, None)
            else:
                status[key] = value
        self.put(path, obj)
        return copy.deepcopy(obj)

    async def delete(
        self, path: str, options: dict[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        self._check(path)
        self.deletions.append((path, options))
        obj = self.objects[path]
        self.drop(path)
        return obj


def _merge_conditions(present: list[dict[str, Any]], patch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    merged = {condition["type"]: condition for condition in present}
    for entry in patch:
        if entry.get("$patch") == "delete":
            merged.pop(entry["type"], None)
            continue
        whole = {**merged.get(entry["type"], {}), **entry}
        merged[entry["type"]] = {key: value for key, value in whole.items() if value is not None}
    return list(merged.values())


class FakeRuntime:
    """Containers as entries of a dict; they run until a test, or SIGKILL, ends them."""

    def __init__(self) -> None:
        self.sandboxes: dict[str, SandboxState] = {}
        self.containers: dict[str, ContainerState] = {}
        self.specs: dict[str, ContainerSpec] = {}
        self.starts: list[str] = []
        self.signals: list[tuple[str, int]] = []
        self.on_exit: Callable[[ContainerState], None] | None = None
        self.start_error: Exception | None = None
        self.restores: dict[str, str] = {}
        self.restore_error: Exception | None = None
        self.impossible = ""
        self.on_start: Callable[[ContainerSpec], None] | None = None

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxState:
        state = SandboxState(spec.id, "ready", f"/run/netns/{spec.netns_name}", time.time(), dict(spec.labels))
        return self.sandboxes.setdefault(spec.id, state)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self.sandboxes.pop(sandbox_id, None)
        for identity in [c.id for c in self.containers.values() if c.sandbox_id == sandbox_id]:
            del self.containers[identity]

    async def start_container(self, spec: ContainerSpec) -> ContainerState:
        if self.on_start is not None:
            self.on_start(spec)
        if self.start_error is not None:
            raise self.start_error
        if spec.id not in self.containers:
            self.starts.append(spec.id)
            self.specs[spec.id] = spec
            self.containers[spec.id] = ContainerState(
                spec.id,
                spec.sandbox_id,
                spec.name,
                "running",
                pid=1000 + len(self.starts),
                started_at=time.time(),
                labels=dict(spec.labels),
            )
        return self.containers[spec.id]

    async def check_checkpoint(self, container_id: str) -> None:
        if self.impossible:
            raise Impossible(self.impossible)

    async def checkpoint_container(self, container_id: str, images: str) -> None:
        state = self.containers[container_id]
        assert state.paused
        Path(images, "pages").write_text(f"memory of {state.name}")

    async def restore_container(self, spec: ContainerSpec, images: str, *, frozen: bool = False) -> ContainerState:
        if self.restore_error is not None:
            raise self.restore_error
        self.restores[spec.id] = Path(images, "pages").read_text()
        state = await self.start_container(spec)
        state.paused = frozen
        return state

    async def signal(self, container_id: str, signum: int, *, everyone: bool = False) -> None:
        self.signals.append((container_id, signum))
        if signum == 9:
            self.exit(container_id, 137)

    async def remove_container(self, container_id: str) -> None:
        self.containers.pop(container_id, None)

    async def pause(self, container_id: str) -> None:
        self.containers[container_id].paused = True

    async def resume(self, container_id: str) -> None:
        self.containers[container_id].paused = False

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        return None

    async def update_sandbox_resources(self, sandbox_id: str, resources: Resources) -> None:
        return None

    async def exec(self, container_id: str, argv: list[str]) -> Any:
        raise NotImplementedError

    async def list(self) -> tuple[list[SandboxState], list[ContainerState]]:
        return list(self.sandboxes.values()), list(self.containers.values())

    def exit(self, container_id: str, code: int) -> None:
        state = self.containers[container_id]
        state.state, state.exit_code, state.finished_at, state.pid = "exited", code, time.time(), 0
        if self.on_exit is not None:
            self.on_exit(state)

    def running(self, name: str) -> ContainerState | None:
        found = [c for c in self.containers.values() if c.name == name and c.state == "running"]
        return found[-1] if found else None


class FakeImages:
    """Every image is there, unless its name is in `missing`."""

    def __init__(self, layer: Path) -> None:
        self.layer = layer
        self.missing: set[str] = set()
        self.held: dict[str, str] = {}
        self.layers: dict[str, list[Path]] = {}
        self.config = ImageConfig(cmd=["serve"], env=["PATH=/bin"])

    async def ensure(
        self, reference: str, policy: str = "IfNotPresent", auth: Sequence[Mapping[str, object]] | None = None
    ) -> Image:
        image = self.find(reference)
        if image is None:
            raise ImageError(f"image {reference}: not found")
        return image

    def find(self, reference: str) -> Image | None:
        if reference in self.missing:
            return None
        layers = self.layers.get(reference, [self.layer])
        return Image(reference, "sha256:1d", "sha256:d1", layers, self.config, 1000, [reference])

    def hold(self, image_id: str, holder: str) -> None:
        self.held[holder] = image_id

    def release(self, holder: str) -> None:
        self.held.pop(holder, None)


class FakeNetwork:
    """Hands out addresses."""

    def __init__(self) -> None:
        self.attached: dict[str, str] = {}

    async def attach(self, sandbox_id: str, netns_path: str, **_: Any) -> PodAddress:
        ip = self.attached.setdefault(sandbox_id, f"10.244.0.{len(self.attached) + 2}")
        return PodAddress(ip, 24, "10.244.0.1", "0a:58:0a:f4:00:02")

    async def detach(self, sandbox_id: str) -> None:
        self.attached.pop(sandbox_id, None)

    async def reconcile(self, live_sandbox_ids: set[str]) -> set[str]:
        for sandbox in set(self.attached) - live_sandbox_ids:
            del self.attached[sandbox]
        return set()


class FakeRecorder:
    """Keeps events as (reason, message)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def record(
        self, obj: Mapping[str, Any], kind: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        self.events.append((reason, message))

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]


class FakeProber(Prober):
    """Answers every check with `outcomes[container id]`, or success."""

    def __init__(self) -> None:
        self.outcomes: dict[str, bool] = {}
        self.actions: list[Mapping[str, Any]] = []

    async def check(self, action: Mapping[str, Any], target: Target, timeout_s: float) -> Outcome:
        self.actions.append(action)
        return Outcome(self.outcomes.get(target.container_id, True), "as told")


class FakeNode:
    """See the module. `manager` is the present agent's; `private` makes the place for the volumes of API objects."""

    private: Callable[[Path], None] = staticmethod(lambda directory: directory.mkdir(parents=True, exist_ok=True))

    def __init__(self, directory: Path) -> None:
        self.layout = NodeLayout(directory / "data", directory / "run", "test", "n1")
        (directory / "layer").mkdir()
        self.api = FakeApi()
        self.runtime = FakeRuntime()
        self.images = FakeImages(directory / "layer")
        self.network = FakeNetwork()
        self.recorder = FakeRecorder()
        self.prober = FakeProber()
        self.services: list[dict[str, Any]] | None = []
        self.admission: Callable[[Mapping[str, Any]], tuple[str, str] | None] = lambda pod: None
        self.handlers = Handlers({})
        self.manager = PodManager(self.network)
        self.events = Events(self.recorder, "n1")
        self._task: asyncio.Task[None] | None = None
        self._others: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run another part of the agent; it ends with the next crash."""
        self._others.append(asyncio.create_task(work, name="part of the agent"))

    def boot(self) -> None:
        """Start an agent."""
        self.manager = PodManager(self.network)
        self._task = asyncio.create_task(self._run(self.manager), name="agent")

    async def crash(self) -> None:
        """End the agent as kill -9 would, as far as a coroutine can."""
        for other in self._others:
            other.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)
        self._others.clear()
        if self._task is not None:
            self.runtime.on_exit = None
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self, manager: PodManager) -> None:
        tools = self.facilities(manager)
        self.runtime.on_exit = manager.container_exited
        pods = self.api.informer("/api/v1/pods")
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run(tools), name="pods")
            group.create_task(tools.references.run(), name="references")
            group.create_task(tools.publisher.run(), name="publisher")
            await manager.wait_started()
            pods.on_change = manager.pod_changed
            group.create_task(pods.run(), name="informer")
            await pods.wait_synced()
            await manager.pods_synced({pod["metadata"]["uid"] for pod in pods.items.values()})

    def facilities(self, manager: PodManager) -> Facilities:
        node = NodeFacts("n1", ("10.0.0.1",), {"cpu": "4", "memory": "8Gi", "pods": "110"})
        references = References(self.api.informer, self.layout.volatile / "references", manager.objects_changed)
        checkpoints, arrivals = Checkpoints(self.layout.pods), Arrivals(self.layout.pod_checkpoints)
        volumes = VolumesHook(references, self.api, node, self.images, self.private)
        return Facilities(
            node=node,
            layout=self.layout,
            runtime=self.runtime,
            images=self.images,
            api=self.api,
            events=self.events,
            references=references,
            checkpoints=checkpoints,
            arrivals=arrivals,
            publisher=StatusPublisher(self.api),
            prober=self.prober,
            services=lambda: self.services,
            volume_hooks=(hooks.DirectoriesHook(checkpoints, "n1"), volumes, FilledVolumes(arrivals)),
            sandbox_hooks=(
                hooks.SandboxHook(self.runtime, self.network, "n1", "cluster.local"),
                hooks.NetworkHook(self.network, ("10.0.0.1",)),
                hooks.EtcHook("n1", "cluster.local", "10.96.0.10", Resolver(("1.1.1.1",)), "127.0.0.1 localhost\n"),
            ),
            volumes=volumes,
            domain="cluster.local",
            memory_bytes=8 << 30,
            clock=time.time,
            admit=lambda pod: self.admission(pod),
            choose_range=lambda: namespaces.choose_range(
                {worker.record.user_range for worker in manager.workers.values()}, "n1"
            ),
            handlers=self.handlers,
        )

    # what tests say and see

    def path(self, name: str = "p") -> str:
        return f"/api/v1/namespaces/default/pods/{name}"

    def create(self, pod: dict[str, Any]) -> None:
        self.api.put(self.path(pod["metadata"]["name"]), pod)

    def object(self, name: str = "p") -> dict[str, Any]:
        return self.api.objects[self.path(name)]

    def status(self, name: str = "p") -> dict[str, Any]:
        found: dict[str, Any] = self.object(name).get("status") or {}
        return found

    def delete(self, name: str = "p", grace: int = 30) -> None:
        pod = copy.deepcopy(self.object(name))
        pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=grace)
        self.create(pod)

    async def wait_phase(self, phase: str, name: str = "p") -> dict[str, Any]:
        status: dict[str, Any] = await eventually(
            lambda: self.status(name).get("phase") == phase and self.status(name), f"phase {phase} of {name}"
        )
        return status

    async def wait_running(self, name: str = "web") -> ContainerState:
        state: ContainerState = await eventually(lambda: self.runtime.running(name), f"container {name}")
        return state

    async def wait_gone(self, name: str = "p") -> None:
        await eventually(lambda: self.path(name) not in self.api.objects, f"deletion of {name}")
        await eventually(lambda: not self.manager.workers, "the worker's end")


@asynccontextmanager
async def fake_node(directory: Path) -> AsyncIterator[FakeNode]:
    """A node whose agent runs."""
    node = FakeNode(directory)
    node.boot()
    try:
        yield node
    finally:
        await node.crash()
