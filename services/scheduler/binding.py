"""Writing decisions to the state log: many bindings in one atomic batch, one by one where a batch meets a conflict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.scheduler.conditions import condition
from services.scheduler.decide import Decision
from shared.errors import RevisionConflict
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.objects import meta
from shared.state.cache import Record
from shared.state.log import StateLog, Write

BATCH = 100
AUTHOR = Author(user="system:kube-scheduler", agent="wherry-scheduler", manager="wherry-scheduler")


@dataclass(frozen=True, slots=True)
class Binding:
    """A decision with the very revision of the pod for which it was made."""

    decision: Decision
    record: Record


async def bind(log: StateLog, bindings: Sequence[Binding]) -> tuple[list[Binding], list[Binding], int]:
    """Write the bindings; returns those written, those overtaken by another write, and the last revision written."""
    done: list[Binding] = []
    overtaken: list[Binding] = []
    revision = 0
    for start in range(0, len(bindings), BATCH):
        part = bindings[start : start + BATCH]
        try:
            revisions = await log.batch([_write(binding) for binding in part], AUTHOR)
        except RevisionConflict:
            for binding in part:
                write = _write(binding)
                try:
                    revision = await log.put(
                        write.ref, write.obj, expected=write.expected, author=AUTHOR, cause="binding"
                    )
                except RevisionConflict:
                    overtaken.append(binding)
                else:
                    done.append(binding)
        else:
            revision = max(revisions)
            done.extend(part)
    return done, overtaken, revision


def _write(binding: Binding) -> Write:
    ref: Ref = binding.record.ref
    return Write(ref, bound(binding.record.object, binding.decision.node), binding.record.revision, cause="binding")


def bound(pod: dict[str, Any], node: str) -> dict[str, Any]:
    """The pod with its node and the condition PodScheduled."""
    pod = meta.copy(pod)
    pod["spec"]["nodeName"] = node
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)
    conditions = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
    status["conditions"] = [*conditions, condition(pod, "PodScheduled", "True")]
    return pod
