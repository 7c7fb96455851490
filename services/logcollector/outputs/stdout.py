"""Output to standard output, one JSON object a line: for trying things out, and for whoever collects our output.

A delivery may appear twice after a crash; readers that mind can use the `id` field.
"""

import sys
from typing import IO

import msgspec

from services.logcollector.outputs.port import Delivery, OutputFailure


class StdoutOutput:
    """Writes to a binary stream and flushes it."""

    kind = "stdout"

    def __init__(self, stream: IO[bytes] | None = None, name: str = "stdout") -> None:
        self.name = name
        self._stream = stream or sys.stdout.buffer
        self._encoder = msgspec.json.Encoder()

    async def deliver(self, delivery: Delivery) -> None:
        """Write every record with its pod."""
        lines = []
        for record in delivery.records:
            document = {
                "time": record.time,
                "stream": record.stream,
                "log": record.log,
                "kubernetes": delivery.kubernetes,
                "id": delivery.id,
            }
            lines.append(self._encoder.encode(document) + b"\n")
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except OSError as exc:
            raise OutputFailure(f"standard output: {exc}") from exc
