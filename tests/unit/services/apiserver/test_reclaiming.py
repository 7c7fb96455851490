"""What ended connections leave behind is collected when there were many of them."""

import gc
import weakref

from services.apiserver.reclaiming import MANY_CLOSED, Reclaimer


class Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_many_ended_connections_are_collected_at_once() -> None:
    reclaimer = Reclaimer()
    gc.disable()
    try:
        left = weakref.ref(Node())
        reclaimer.reclaim()
        assert left() is not None
        for _ in range(MANY_CLOSED):
            reclaimer.closed()
        reclaimer.reclaim()
        assert left() is None
    finally:
        gc.enable()
