"""pods/NAME/migrate: a running pod, with the memory of its processes, continues on another node. Besides binding the
only way in which spec.nodeName changes.

The order in which it happens makes a kill at any point leave one instance that runs, or will run again:

1. the new node says that it can restore; then the pod is marked by the condition `wherry.io/Migrating` that holds the
   migration's id and the new node;
2. its node freezes the containers and sends their checkpoint, this server passes it on, the other node keeps it and
   restores the pod from it, with all its processes frozen;
3. one write moves spec.nodeName and names the checkpoint, provided that the mark still stands;
4. the old node, which no longer has the pod, kills the frozen processes; the new one, which has it, thaws its own.

Before 3 anything that ends or fails (this server, a node's agent, the connection, the restoring) makes the old node
take the mark off by a write of its own, and only when that is accepted let its containers go on. The log orders that
write and the one of 3: whichever comes second is refused. After 3 the old node cannot take the mark off any more.
"""

import contextlib
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from services.apiserver import conditions, decoding
from services.apiserver.failures import bad_request, conflict_on
from services.apiserver.protocol import Document, Object, Outcome, Request
from services.apiserver.routes import Target
from services.apiserver.store import Change, Store
from services.apiserver.streaming.checkpoints import (
    ABLE,
    END,
    INWARD,
    OUTWARD,
    RESTORED,
    failure,
    running_place,
)
from services.apiserver.subresources.binding import created, node_of
from services.apiserver.write import author
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import ApiError, BusError
from shared.objects import meta, registry, times
from shared.state.cache import Record

log = logging.getLogger(__name__)

MIGRATING = "wherry.io/Migrating"
CHECKPOINT = "wherry.io/checkpoint"
# A server that dies right behind its mark leaves it to nobody. Two migrations at once do no harm: the node takes part
# in one only, and the other's mark makes the move of the first one fail.
MARK_LIMIT_S = 300.0
# what is only true of the node that the pod is leaving
_LOCAL_STATUS = ("hostIP", "hostIPs", "podIP", "podIPs")


@dataclass(frozen=True, slots=True)
class Migrations:
    """Serves pods/NAME/migrate; the body is a Binding to the other node."""

    bus: Bus
    store: Store

    async def create(self, request: Request, target: Target) -> Outcome:
        binding = decoding.decode_as(request, "v1", "Binding")
        node = node_of(binding)
        pods, namespace, name = target.resource, target.namespace, target.name
        pod = (await self.store.latest(pods, namespace, name)).object
        source = running_place(pod)
        await self._check(pod, node)
        if request.dry_run:
            return Document(created(), 201)
        identity = secrets.token_hex(16)

        def mark(record: Record) -> Change:
            check_movable(record.object, source.node, source.uid)
            if is_migrating(record.object, datetime.now(UTC)):
                raise conflict_on("", "pods/migrate", name, f"pod {name} is being migrated already")
            return Change(with_mark(record.object, "True", "Checkpointing", f"{identity} to {node}"))

        def move(record: Record) -> Change:
            check_movable(record.object, source.node, source.uid)
            if migration_of(record.object) != identity:
                raise conflict_on("", "pods/migrate", name, f"the migration of pod {name} was given up by its node")
            return Change(moved(record.object, node, identity))

        def give_up(record: Record) -> Change:
            if migration_of(record.object) != identity:
                return Change(record.object)
            return Change(with_mark(record.object, "False", "Aborted", "the migration did not come to its end"))

        who = author(request)
        try:
            async with contextlib.AsyncExitStack() as stack:
                arrival = {"id": identity, "owner": {"uid": source.uid}, "pod": moved(pod, node, identity)}
                sink = await open_stream(self.bus, node, "restore", arrival)
                stack.push_async_callback(sink.close)
                await expect(sink, ABLE)
                await self.store.update(pods, namespace, name, mark, who, cause=f"migration to {node}")
                parameters = source.parameters() | {"migration": identity}
                stream = await open_stream(self.bus, source.node, "checkpoint", parameters)
                stack.push_async_callback(stream.close)
                await relay(stream, sink)
                await self.store.update(pods, namespace, name, move, who, cause=f"migrated to {node}")
        except (ApiError, BusError):
            with contextlib.suppress(ApiError, BusError):  # else the pod's node does it
                await self.store.update(pods, namespace, name, give_up, who, cause="migration given up")
            raise
        return Document(created(), 201)

    async def _check(self, pod: Object, node: str) -> None:
        name = pod["metadata"]["name"]
        nodes = registry.by_plural("", "v1", "nodes")
        assert nodes is not None
        found = (await self.store.get(nodes, "", node)).object
        ready = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions", ())}.get("Ready")
        why = ""
        if pod["spec"]["nodeName"] == node:
            why = f"pod {name} is on node {node} already"
        elif ready != "True":
            why = f"node {node} is not ready"
        elif found.get("spec", {}).get("unschedulable"):
            why = f"node {node} is cordoned"
        elif any(owner.get("kind") == "DaemonSet" for owner in pod["metadata"].get("ownerReferences") or ()):
            why = f"pod {name} belongs to a DaemonSet, whose pods stay on their nodes"
        if why:
            raise bad_request(why)


async def relay(source: BusStream, sink: BusStream) -> None:
    """Pass an archive on, and wait until the pod is restored from it. The ApiError of either side."""
    async for channel, data in source:
        if channel == OUTWARD:
            await sink.send(INWARD, data)
        elif channel == END:
            await sink.send(END, data)
            break
    else:
        raise failure(source)
    await expect(sink, RESTORED)


async def expect(sink: BusStream, wanted: int) -> None:
    """Wait for a message on a channel. The ApiError of the other side if it ends instead."""
    async for channel, _ in sink:
        if channel == wanted:
            return
    raise failure(sink)


def check_movable(pod: Object, node: str, uid: str) -> None:
    """Conflict if the pod is not the one that was to be moved, or is not where it was."""
    metadata, name = pod["metadata"], pod["metadata"]["name"]
    if metadata["uid"] != uid:
        raise conflict_on("", "pods/migrate", name, f"pod {name} was deleted and created again")
    if "deletionTimestamp" in metadata:
        raise conflict_on("", "pods/migrate", name, f"pod {name} is being deleted")
    if pod["spec"].get("nodeName") != node:
        raise conflict_on("", "pods/migrate", name, f"pod {name} is no longer on node {node}")


def migration_of(pod: Object) -> str:
    """The id of the migration that is under way, else ""."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("type") == MIGRATING and condition.get("status") == "True":
            return str(condition.get("message", "")).partition(" ")[0]
    return ""


def is_migrating(pod: Object, now: datetime) -> bool:
    """Whether a migration is under way; a mark that is left from one that was cut short counts for a while only."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("type") == MIGRATING and condition.get("status") == "True":
            since = times.parse(condition["lastTransitionTime"])
            return (now - since).total_seconds() < MARK_LIMIT_S
    return False


def with_mark(pod: Object, status: str, reason: str, message: str) -> Object:
    """The pod with the condition that tells of its migration."""
    changed: Object = meta.copy(pod)
    changed["status"] = conditions.with_condition(
        changed.get("status", {}), conditions.migrating(MIGRATING, status, reason, message)
    )
    return changed


def moved(pod: Object, node: str, identity: str) -> Object:
    """The pod as it is on its new node: the same identity and spec, another place, a checkpoint to begin with."""
    changed = with_mark(pod, "False", "Moved", _story(pod, node))
    changed["spec"]["nodeName"] = node
    changed["metadata"]["annotations"] = (changed["metadata"].get("annotations") or {}) | {CHECKPOINT: identity}
    for name in _LOCAL_STATUS:
        changed["status"].pop(name, None)
    for kind in ("Ready", "ContainersReady"):
        unready = conditions.migrating(kind, "False", "Migrating", f"the pod moves to {node}")
        changed["status"] = conditions.with_condition(changed["status"], unready)
    return changed


def _story(pod: Object, node: str) -> str:
    """What has become of the pod, for who wonders about its address."""
    old = pod["spec"]["nodeName"]
    text = f"from {old} to {node}"
    address = pod.get("status", {}).get("podIP")
    if not address or pod["spec"].get("hostNetwork"):
        return text
    return f"{text}; its address {address} belongs to the pod network of {old}: it gets another, open connections end"
