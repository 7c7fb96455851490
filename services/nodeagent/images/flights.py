"""One piece of work for everyone who wants the same result at the same time.

Why no background task: whoever asks first does the work in its own task, the others wait for it. If that first one is
cancelled (its pod was deleted) a waiter takes over, so no task outlives those who want it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Work in progress by key, within one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Future[T]] = {}

    async def share(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, done by this call or by one that is already at it. Its error goes to all waiters."""
        while (flight := self._flights.get(key)) is not None:
            try:
                return await asyncio.shield(flight)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task and task.cancelling()):
                    raise
        flight = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            result = await work()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as exc:
            flight.set_exception(exc)
            flight.exception()  # nobody may be waiting; that is no forgotten error
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._flights[key]
