"""What every pod worker works with: the boundaries of the agent, each a Protocol with a real and a fake side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent.checkpoint.arrivals import Arrivals
from services.nodeagent.environment import NodeFacts
from services.nodeagent.events import Events
from services.nodeagent.handlers import Handlers
from services.nodeagent.images.model import Image
from services.nodeagent.layout import NodeLayout
from services.nodeagent.link import Api
from services.nodeagent.pods.checkpoint import Checkpoints
from services.nodeagent.pods.publisher import StatusPublisher
from services.nodeagent.pods.setting import Hook
from services.nodeagent.probes.prober import Prober
from services.nodeagent.references import References
from services.nodeagent.runtime.model import ContainerSpec, ContainerState, Resources, SandboxState
from services.nodeagent.runtime.sessions import ExecSession
from services.nodeagent.volumes.hook import VolumesHook


class Runtime(Protocol):
    """The keeper's containers; errors are RuntimeFailure."""

    async def start_container(self, spec: ContainerSpec) -> ContainerState: ...
    async def check_checkpoint(self, container_id: str) -> None: ...
    async def checkpoint_container(self, container_id: str, images: str) -> None: ...
    async def restore_container(self, spec: ContainerSpec, images: str, *, frozen: bool = False) -> ContainerState: ...
    async def signal(self, container_id: str, signum: int, *, everyone: bool = False) -> None: ...
    async def remove_container(self, container_id: str) -> None: ...
    async def pause(self, container_id: str) -> None: ...
    async def resume(self, container_id: str) -> None: ...
    async def update_resources(self, container_id: str, resources: Resources) -> None: ...
    async def update_sandbox_resources(self, sandbox_id: str, resources: Resources) -> None: ...
    async def exec(self, container_id: str, argv: list[str]) -> ExecSession: ...
    async def remove_sandbox(self, sandbox_id: str) -> None: ...
    async def list(self) -> tuple[list[SandboxState], list[ContainerState]]: ...


class Images(Protocol):
    """The node's images; errors are ImageError with a `reason`."""

    async def ensure(
        self, reference: str, policy: str = "IfNotPresent", auth: Sequence[Mapping[str, object]] | None = None
    ) -> Image: ...

    def find(self, reference: str) -> Image | None: ...
    def hold(self, image_id: str, holder: str) -> None: ...
    def release(self, holder: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Facilities:
    """Shared by all workers. `clock` gives unix seconds, `services` the services known at present.

    `choose_range` gives the first user id of a range that no pod of the node has; ConfigurationError if there is none.
    """

    node: NodeFacts
    layout: NodeLayout
    runtime: Runtime
    images: Images
    api: Api
    events: Events
    references: References
    checkpoints: Checkpoints
    arrivals: Arrivals
    publisher: StatusPublisher
    prober: Prober
    services: Callable[[], Sequence[Mapping[str, Any]] | None]
    volume_hooks: Sequence[Hook]
    sandbox_hooks: Sequence[Hook]
    volumes: VolumesHook
    domain: str
    memory_bytes: int
    clock: Callable[[], float]
    admit: Callable[[Mapping[str, Any]], tuple[str, str] | None]
    choose_range: Callable[[], int]
    handlers: Handlers

    @property
    def logs(self) -> Path:
        return self.layout.logs
