"""Plays the life of a pod against the pure decisions: instructions are carried out on the record, without a runtime.

The clock stands still until `advance`; images are always there unless `pull_error` names a reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.nodeagent.layout import container_id
from services.nodeagent.pods import apply as applying
from services.nodeagent.pods import specs
from services.nodeagent.pods.decide import decide
from services.nodeagent.pods.instructions import (
    BeginStop,
    CleanUp,
    ConfirmDeletion,
    CreateSandbox,
    EndPod,
    Instruction,
    MarkInitialized,
    PrepareVolumes,
    PullImage,
    ResizeContainer,
    RunPostStart,
    RunPreStop,
    SignalContainer,
    StartContainer,
    Terminate,
    job_key,
)
from services.nodeagent.pods.records import Failure, PodRecord, Termination
from services.nodeagent.pods.status import pod_status
from services.nodeagent.pods.view import NO_RESULT, ProbeResult, View

START = 1_000_000.0


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", **fields}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod with the given app containers, uid u1."""
    body = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "containers": list(containers), **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": body,
        "status": {"phase": "Pending"},
    }


class PodLife:
    """One pod, its record and its clock. `done` lists every instruction that was carried out."""

    def __init__(self, obj: dict[str, Any]) -> None:
        self.pod = obj
        self.record = PodRecord("u1")
        self.now = START
        self.jobs: set[str] = set()
        self.probes: dict[str, ProbeResult] = {}
        self.removed = False
        self.done: list[Instruction] = []
        self.wake_at: float | None = None
        self.held_jobs: set[str] = set()
        self.pull_error = ""
        self.previous: dict[str, Any] = {}

    # driving

    def settle(self) -> list[Instruction]:
        """Decide and carry out until nothing is left; the instructions of this round."""
        begun = len(self.done)
        for _ in range(50):
            plan = decide(
                View(self.pod, self.record, self.now, frozenset(self.jobs), dict(self.probes), removed=self.removed)
            )
            self.wake_at = plan.wake_at
            if not plan.instructions:
                return self.done[begun:]
            for instruction in plan.instructions:
                self.done.append(instruction)
                self.carry_out(instruction)
        raise AssertionError(f"does not settle: {self.done[-5:]}")

    def advance(self, seconds: float) -> list[Instruction]:
        self.now += seconds
        return self.settle()

    def wake(self) -> list[Instruction]:
        """Let the time pass until the plan asked to be woken."""
        assert self.wake_at is not None, "the plan waits for an event"
        self.now = max(self.now, self.wake_at)
        return self.settle()

    def exit(self, name: str, code: int = 0, **fields: Any) -> list[Instruction]:
        record = self.record.container(name)
        reason = fields.pop("reason", "Completed" if code == 0 else "Error")
        ended = Termination(record.container_id, code, reason, record.started_at, self.now, **fields)
        applying.exited(record, ended)
        self.probes.pop(name, None)
        return self.settle()

    def probe(self, name: str, **results: bool) -> list[Instruction]:
        self.probes[name] = replace(self.probes.get(name, NO_RESULT), **results)
        return self.settle()

    def delete(self, grace: int = 30) -> list[Instruction]:
        self.pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=grace)
        return self.settle()

    def finish_job(self, key: str) -> list[Instruction]:
        """End a job that was held."""
        self.jobs.discard(key)
        kind, _, name = key.partition("/")
        if kind == "post-start":
            self.record.container(name).post_start_done = True
        elif kind == "pre-stop" and (stop := self.record.container(name).stop) is not None:
            stop.pre_stop_done = True
        elif kind == "pull":
            self.record.container(name).pulled = True
        return self.settle()

    # looking

    def status(self) -> dict[str, Any]:
        self.previous = pod_status(self.pod, self.record, self.probes, ["10.0.0.1"], self.previous, self.now)
        return self.previous

    def container_status(self, name: str) -> dict[str, Any]:
        status = self.status()
        groups = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        return next(s for group in groups for s in status.get(group, ()) if s["name"] == name)

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status()["conditions"] if c["type"] == kind)

    def started(self) -> list[str]:
        return [i.container for i in self.done if isinstance(i, StartContainer)]

    def running(self) -> set[str]:
        return {name for name, c in self.record.containers.items() if c.running}

    # effects

    def carry_out(self, instruction: Instruction) -> None:
        record = self.record
        if (key := job_key(instruction)) and key in self.held_jobs:
            self.jobs.add(key)
            return
        match instruction:
            case Terminate() | EndPod() | MarkInitialized() | BeginStop() | CreateSandbox():
                applying.apply(record, self.pod, instruction, self.now)
                if isinstance(instruction, CreateSandbox):
                    record.sandbox_ready = True
                    record.addresses = ("10.244.0.5",)
            case PrepareVolumes():
                record.volumes_ready = True
                record.started_at = record.started_at or self.now
            case PullImage(name):
                self._pull(name)
            case StartContainer(name, attempt):
                self._start(name, attempt)
            case RunPostStart(name):
                record.container(name).post_start_done = True
            case RunPreStop(name):
                stop = record.container(name).stop
                assert stop is not None
                stop.pre_stop_done = True
            case SignalContainer(name, kill):
                assert record.container(name).stop is not None
                applying.signalled(record.container(name), self.now, kill=kill)
            case ResizeContainer(name):
                spec = specs.container_spec(self.pod, name)
                assert spec is not None
                record.container(name).resources = dict(spec["resources"])
            case CleanUp():
                record.cleaned, record.sandbox_ready = True, False
            case ConfirmDeletion():
                record.confirmed = True

    def _pull(self, name: str) -> None:
        container = self.record.container(name)
        if not self.pull_error:
            container.pulled, container.pull_failure = True, None
            return
        container.pull_backoff = container.pull_backoff.next(self.now, self.now)
        retry = self.now + container.pull_backoff.delay
        container.pull_failure = Failure(self.pull_error, "no such image", self.now, retry)

    def _start(self, name: str, attempt: int) -> None:
        spec = specs.container_spec(self.pod, name)
        assert spec is not None
        container = applying.begin_start(self.record, self.pod, name, attempt, self.now)
        assert container.container_id == container_id("u1", name, attempt)
        container.post_start_done = not (spec.get("lifecycle") or {}).get("postStart")
        applying.started(container, started_at=self.now, pid=100)
