"""Output to the LOGS stream: one message for each batch, acknowledged, recognised when sent twice.

A message is msgpack `{"kubernetes": {...}, "records": [{"time": int ns, "stream", "log"}, ...]}`: a record as consumers
see it is one entry of `records` together with `kubernetes`, which would otherwise be repeated for every line.
"""

import msgspec

from services.logcollector.cri import Record
from services.logcollector.outputs.port import Delivery, OutputFailure
from shared.bus.jetstream import JetStream
from shared.bus.port import Bus
from shared.errors import BusError
from shared.events.subjects import log_subject

MESSAGE_ID = "Nats-Msg-Id"
LIMIT_S = 20.0
MESSAGE_BYTES = 4 << 20
"""Half of what the broker takes; a single record has at most three quarters of that."""


class StreamOutput:
    """Publishes to `logs.<node>.<namespace>.<pod>.<container>`."""

    kind = "stream"

    def __init__(self, bus: Bus, node: str, name: str = "stream") -> None:
        self.name = name
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._node = node
        self._encoder = msgspec.msgpack.Encoder()

    async def deliver(self, delivery: Delivery) -> None:
        """Publish and wait for the broker's acknowledgement; while there is no connection, wait for it."""
        await self._bus.wait_connected()
        await self._publish(delivery.id, delivery.records, delivery)

    async def _publish(self, message_id: str, records: list[Record], delivery: Delivery) -> None:
        subject = log_subject(self._node, delivery.namespace, delivery.pod, delivery.container)
        body = self._encoder.encode({"kubernetes": delivery.kubernetes, "records": records})
        if len(body) > MESSAGE_BYTES and len(records) > 1:
            # bytes that are no UTF-8 take three each; what the broker never takes would hold up the whole node
            half = len(records) // 2
            await self._publish(f"{message_id}/1", records[:half], delivery)
            await self._publish(f"{message_id}/2", records[half:], delivery)
            return
        try:
            await self._jetstream.publish(subject, body, {MESSAGE_ID: message_id}, timeout=LIMIT_S)
        except BusError as exc:
            raise OutputFailure(f"{subject}: {exc}") from exc
