"""How audit events are gathered for a webhook (--audit-webhook-batch-* of kube-apiserver)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batching:
    """How many events are kept and sent at once, how many seconds the first of a batch waits, and how many seconds
    after a failure the next try is."""

    buffer: int = 10_000
    size: int = 400
    wait: float = 30.0
    backoff: float = 10.0
