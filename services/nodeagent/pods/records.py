"""What the agent knows of a pod beyond its object: the memory that decisions are made from.

It is plain data. Part of it is durable (attempt numbers, terminations, back-off), so that a killed agent, or a rebooted
node, counts on where it was; the rest (hooks under way, stop deadlines) is rebuilt by deciding again.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from services.nodeagent.pods.backoff import NO_BACKOFF, Backoff

# An error is shown as itself for this long before it is shown as the back-off that follows it.
ERROR_SHOWN_S = 5.0


class Phase(StrEnum):
    """Where the current attempt of a container stands."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Termination:
    """How one attempt ended; times in unix seconds."""

    container_id: str
    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    signal: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something is not done yet; `since` and `retry_at` in unix seconds, a retry_at of 0 waits for events."""

    reason: str
    message: str
    since: float
    retry_at: float = 0.0


@dataclass(slots=True)
class Stop:
    """A container on its way down. `deadline` (unix seconds) is when SIGKILL is due.

    `extended`: the deadline was put off once, for a container that had not heard its stop signal by then.
    """

    reason: str
    deadline: float
    pre_stop_done: bool = False
    signalled: bool = False
    killed: bool = False
    extended: bool = False


@dataclass(slots=True)
class ContainerRecord:
    """One container of a pod over all its attempts; attempt -1 means it never started.

    `resources` are those that the present attempt has, `allocated` those that the node has granted (None: not yet).
    `trouble` is why the present attempt could not begin its work; it is shown for a while after its end.
    """

    name: str
    attempt: int = -1
    container_id: str = ""
    sandbox_attempt: int = -1
    phase: Phase = Phase.ABSENT
    started_at: float = 0.0
    pid: int = 0
    image: str = ""
    image_id: str = ""
    spec_hash: str = ""
    user: tuple[int, int, tuple[int, ...]] | None = None
    termination: Termination | None = None
    last: Termination | None = None
    backoff: Backoff = NO_BACKOFF
    pull_backoff: Backoff = NO_BACKOFF
    ready: bool = False
    started: bool = False
    resources: dict[str, Any] = field(default_factory=dict)
    allocated: dict[str, Any] | None = None
    suspended: bool = False
    # not durable
    pulled: bool = False
    pull_failure: Failure | None = None
    start_failure: Failure | None = None
    resize_failure: Failure | None = None
    trouble: Failure | None = None
    post_start_done: bool = True
    stop_signal: str = "SIGTERM"
    kill_reason: str = ""
    stop: Stop | None = None

    @property
    def running(self) -> bool:
        return self.phase is Phase.RUNNING

    def document(self) -> dict[str, Any]:
        """The durable part, ready for JSON."""
        document = {name: getattr(self, name) for name in _DURABLE}
        for name in _NESTED:
            value = document[name]
            document[name] = None if value is None else {key: getattr(value, key) for key in value.__slots__}
        for name in ("resources", "allocated"):
            document[name] = copy.deepcopy(document[name])
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        known: dict[str, Any] = {key: document[key] for key in _DURABLE if key in document}
        for key in ("termination", "last"):
            if known.get(key) is not None:
                known[key] = Termination(**known[key])
        for key in ("backoff", "pull_backoff"):
            if key in known:
                known[key] = Backoff(**known[key])
        if known.get("user") is not None:
            uid, gid, groups = known["user"]
            known["user"] = (uid, gid, tuple(groups))
        known["phase"] = Phase(known.get("phase", Phase.ABSENT))
        return cls(**known)


_VOLATILE = (
    "pulled",
    "pull_failure",
    "start_failure",
    "resize_failure",
    "trouble",
    "post_start_done",
    "stop_signal",
    "kill_reason",
    "stop",
)
_DURABLE = tuple(name for name in ContainerRecord.__slots__ if name not in _VOLATILE)
_NESTED = ("termination", "last", "backoff", "pull_backoff")


@dataclass(slots=True)
class PodRecord:
    """One pod. Times in unix seconds; `sandbox_attempt` -1 means that no sandbox was ever made.

    `stop_by` is the deadline of a pod that is ending, 0 while it is not; `deleted` and `grace` (seconds) tell that the
    API wants it gone; `finished` that it ended by itself; `disruption` is why the node ended it, if it was the node.
    `user_range` is the first user id on the node of a pod with its own user namespace, `runtime_handler` the runtime
    that its RuntimeClass names. `checkpoint` is set while its containers are frozen for one (see the checkpoint
    package), `capturing` while that is under way; `restoring` are the containers that are still to be restored from the
    checkpoint `restored_from`, or whose restoring is still to be noted; with `awaiting` they stay frozen until the API
    gives the pod to this node.
    """

    uid: str
    started_at: float = 0.0
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    sandbox_attempt: int = -1
    initialized: bool = False
    addresses: tuple[str, ...] = ()
    user_range: int = 0
    runtime_handler: str = ""
    stop_by: float = 0.0
    deleted: bool = False
    grace: float = 0.0
    end_reason: str = ""
    end_message: str = ""
    disruption: str = ""
    finished: bool = False
    checkpoint: str = ""
    restored_from: str = ""
    restoring: list[str] = field(default_factory=list)
    awaiting: bool = False
    # not durable
    capturing: bool = False
    sandbox_ready: bool = False
    sandbox_exists: bool = False
    sandbox_failure: Failure | None = None
    volumes_ready: bool = False
    volumes_failure: Failure | None = None
    clean_failure: Failure | None = None
    cleaned: bool = False
    confirmed: bool = False
    confirm_retry_at: float = 0.0

    def container(self, name: str) -> ContainerRecord:
        if name not in self.containers:
            self.containers[name] = ContainerRecord(name)
        return self.containers[name]

    def document(self) -> dict[str, Any]:
        """The durable part, ready for JSON."""
        return {
            **{key: getattr(self, key) for key in _POD_DURABLE},
            "restoring": list(self.restoring),
            "containers": {name: record.document() for name, record in self.containers.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        known: dict[str, Any] = {key: document[key] for key in _POD_DURABLE if key in document}
        known["addresses"] = tuple(known.get("addresses", ()))
        known["restoring"] = list(known.get("restoring", ()))
        containers = {n: ContainerRecord.from_document(d) for n, d in document.get("containers", {}).items()}
        return cls(containers=containers, **known)


_POD_DURABLE = (
    "uid",
    "started_at",
    "sandbox_attempt",
    "initialized",
    "addresses",
    "user_range",
    "runtime_handler",
    "stop_by",
    "deleted",
    "grace",
    "end_reason",
    "end_message",
    "disruption",
    "finished",
    "checkpoint",
    "restored_from",
    "restoring",
    "awaiting",
)
