"""What an output is: something that takes a batch and returns when it is safe there.

Why so small: positions, order, retries and back-pressure are the collector's business; an output only delivers once.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from services.logcollector.cri import Record
from shared.errors import WherryError


class OutputFailure(WherryError):
    """A delivery failed; it will be tried again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records of one container in order, with what they have in common.

    `id` is the same whenever the same records are delivered again, so an output can drop what it already has.
    """

    id: str
    namespace: str
    pod: str
    container: str
    kubernetes: dict[str, Any]
    records: list[Record]


class Output(Protocol):
    """An output. `name` stands in metrics and logs, `kind` is its type."""

    name: str
    kind: str

    async def deliver(self, delivery: Delivery) -> None:
        """Return once the records are safe. Raises OutputFailure if that is not certain."""
