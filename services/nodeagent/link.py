"""The agent's line to the API server, as the parts of the agent need it.

There may be no connection for hours, and the node carries on: every caller says what it does then.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shared.errors import ApiError, BusError

Query = Mapping[str, Any] | None
Object = dict[str, Any]


class Api(Protocol):
    """The calls of the API client that a node makes; each raises ApiError or BusError."""

    async def get(self, path: str, query: Query = None) -> Object: ...
    async def create(self, path: str, obj: Object, query: Query = None) -> Object: ...
    async def update(self, path: str, obj: Object, query: Query = None) -> Object: ...
    async def patch(self, path: str, body: Any, kind: str = "merge", query: Query = None) -> Object: ...
    async def delete(self, path: str, options: Object | None = None, query: Query = None) -> Object: ...


class Informer(Protocol):
    """A watched collection; `items` by (namespace, name)."""

    items: dict[tuple[str, str], Object]
    on_change: Callable[[str, Object, Object | None], None] | None

    @property
    def synced(self) -> bool: ...

    async def run(self) -> None: ...
    async def wait_synced(self) -> None: ...


InformerFactory = Callable[[str, Query], Informer]


def is_offline(error: BaseException) -> bool:
    """Whether an error says that the API could not be reached, rather than that it refused."""
    return isinstance(error, BusError) or (isinstance(error, ApiError) and (error.code >= 500 or error.code == 429))
