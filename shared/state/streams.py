"""The streams, one per kind of life: objects stay, leases expire by themselves, events and logs age.

NODES is apart from LEASE because a node's user must not make the broker write: a publish may name any subject for its
acknowledgement, `s.core.pods...` too, and a stream without acknowledgements answers nobody.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.bus.jetstream import NO_STORAGE, STREAM_NOT_FOUND, JetStream
from shared.bus.port import Bus
from shared.bus.reconnections import after_each
from shared.errors import BrokerError, StateError
from shared.events import subjects

log = logging.getLogger(__name__)

_SECOND = 1_000_000_000
_HOUR = 3600 * _SECOND

STATE = "STATE"
EVENTS = "EVENTS"
LEASE = "LEASE"
NODES = "NODES"
LOGS = "LOGS"

# revisions of an object that the broker keeps at most; how long superseded ones are kept is the compactor's business
HISTORY_REVISIONS = 100
HISTORY_S = 7 * 24 * 3600
# how long a cache remembers the revision of a tombstone; for events also how long the tombstone lives
TOMBSTONE_S = 3600
EVENT_AGE_S = 3600
EVENT_MARKER_S = 600
LEASE_MARKER_S = 60
SMALLEST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's declaration, and how long a reader may be away and still learn of everything that vanished."""

    config: dict[str, Any]
    absence_s: float


def _config(name: str, filters: list[str], **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": filters,
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": 1,
        "max_consumers": -1,
        # a damaged file costs its own messages; of a compressed stream nats-server then takes up none at all
        "compression": "none",
        # write ids of our own are compared instead of the broker's message ids, whose memory would cost
        "duplicate_window": _SECOND,
        **options,
    }


STREAMS: dict[str, Stream] = {
    STATE: Stream(
        _config(
            STATE,
            [subjects.OBJECTS, subjects.BARRIERS, subjects.FLOOR],
            max_msgs_per_subject=HISTORY_REVISIONS,
            allow_msg_ttl=True,
            allow_rollup_hdrs=True,
            allow_atomic=True,
        ),
        # the compactor takes tombstones away, and tells by the floor what it took
        math.inf,
    ),
    EVENTS: Stream(
        _config(
            EVENTS,
            [subjects.EVENTS],
            max_msgs_per_subject=1,
            max_age=EVENT_AGE_S * _SECOND,
            allow_msg_ttl=True,
            allow_rollup_hdrs=True,
            subject_delete_marker_ttl=EVENT_MARKER_S * _SECOND,
        ),
        EVENT_MARKER_S * 0.75,
    ),
    LEASE: Stream(
        _config(
            LEASE,
            [subjects.SERVICE_LEASES],
            max_msgs_per_subject=1,
            allow_msg_ttl=True,
            allow_rollup_hdrs=True,
            subject_delete_marker_ttl=LEASE_MARKER_S * _SECOND,
        ),
        LEASE_MARKER_S * 0.75,
    ),
    NODES: Stream(
        _config(
            NODES,
            [subjects.NODE_LEASES],
            max_msgs_per_subject=1,
            allow_msg_ttl=True,
            allow_rollup_hdrs=True,
            subject_delete_marker_ttl=LEASE_MARKER_S * _SECOND,
            no_ack=True,
        ),
        LEASE_MARKER_S * 0.75,
    ),
    LOGS: Stream(
        _config(
            LOGS,
            [subjects.LOGS],
            max_age=72 * _HOUR,
            max_bytes=2 << 30,
            # a collector sends a batch again, under the same message id, when its acknowledgement was lost
            duplicate_window=600 * _SECOND,
        ),
        0.0,
    ),
}


async def ensure_streams(bus: Bus, replicas: int = 1, revisions: int = HISTORY_REVISIONS) -> None:
    """Declare every stream; existing ones are brought to the present declaration and keep their messages.

    `revisions` is how many revisions of an object STATE keeps at most. Waits while a replicated bus cannot take the
    streams yet, because its servers have not found each other.
    """
    jetstream = JetStream(bus)
    missing = [name for name in STREAMS if await _ensure(jetstream, _declared(name, replicas, revisions))]
    if len(missing) < len(STREAMS):
        await _report(jetstream, missing)


async def keep_streams(bus: Bus, replicas: int = 1, revisions: int = HISTORY_REVISIONS) -> None:
    """Declare the streams again whenever the broker comes back, for ever.

    nats-server does not take up a stream whose files it cannot read, and without this everybody would wait for it in
    vain. StateError if it is STATE: that is left to the next start, which looks first whether anything is missing.
    """

    async def declare() -> None:
        await _require_state(JetStream(bus))
        await ensure_streams(bus, replicas, revisions)

    await after_each(bus, declare, "declaring the streams")


def _declared(name: str, replicas: int, revisions: int) -> dict[str, Any]:
    history = {"max_msgs_per_subject": revisions} if name == STATE else {}
    return {**STREAMS[name].config, **history, "num_replicas": replicas}


async def _require_state(jetstream: JetStream) -> None:
    try:
        await jetstream.stream_info(STATE)
    except BrokerError as exc:
        if exc.code == STREAM_NOT_FOUND:
            raise StateError("the broker has no state log any more: its files cannot be read") from exc
        raise


async def _report(jetstream: JetStream, missing: Sequence[str]) -> None:
    """Tell of streams that were not there although others were."""
    for name in missing:
        info = await jetstream.stream_info(name)
        config, kept = info["config"], int(info["state"]["messages"])
        # what describes a stream on the disk, and may be what was damaged, is written again only when it changes
        for description in ("declared anew", ""):
            await jetstream.api(f"STREAM.UPDATE.{name}", {**config, "description": description})
        log.warning(
            "stream %s was missing and is declared anew, with %d messages; if the cluster was neither restored nor its "
            "bus moved, files are damaged, and the log of nats-server tells which",
            name,
            kept,
        )


async def _ensure(jetstream: JetStream, config: dict[str, Any]) -> bool:
    """A stream that reserves its size gets as much of it as the disk can promise; whether it was missing."""
    while True:
        try:
            return await jetstream.ensure_stream(config, wait=True)
        except BrokerError as exc:
            if exc.code != NO_STORAGE or config.get("max_bytes", 0) < 2 * SMALLEST_BYTES:
                raise
            config = config | {"max_bytes": config["max_bytes"] // 2}


def stream_of(subject: str) -> str:
    """The stream that captures the subject of an object."""
    return EVENTS if subject.startswith("e.") else STATE
