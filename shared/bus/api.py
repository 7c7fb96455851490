"""The Kubernetes API for the cluster's own services and agents, over the bus instead of HTTPS: a node needs one
outgoing connection, and the broker vouches for who is asking."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from shared.bus import wire
from shared.bus.informer import Informer
from shared.bus.port import Bus
from shared.bus.watching import watch
from shared.errors import (
    BadRequest,
    BrokerError,
    BusTimeout,
    Disconnected,
    Forbidden,
    NoResponders,
    ServiceUnavailable,
    Timeout,
    api_error_from_status,
)
from shared.events.subjects import node_subject, service_subject

__all__ = ["ApiClient", "Informer"]

REQUEST_LIMIT_S = 15.0

Object = dict[str, Any]
Query = Mapping[str, Any]
# inside the class the name list is the method
Batches = AsyncGenerator[list[wire.Event], None]


class ApiClient:
    """Requests as `caller`: "node.<node name>" or "service.<service name>".

    Methods raise the ApiError that the server answered; ServiceUnavailable at once when there is no broker or no API
    server, and Timeout when the answer did not come in time (what the request did is unknown then).
    """

    def __init__(self, bus: Bus, caller: str, *, agent: str = "") -> None:
        kind, _, name = caller.partition(".")
        if kind not in ("node", "service") or not name:
            raise ValueError(f"caller {caller!r} is not node.<name> or service.<name>")
        self.bus = bus
        self._subject = node_subject if kind == "node" else service_subject
        self._name = name
        self._agent = agent or f"wherry-{name if kind == 'service' else 'node'}"

    def subject(self, tail: str) -> str:
        """A subject below the caller's own."""
        return self._subject(self._name, tail)

    async def get(self, path: str, query: Query | None = None) -> Object:
        """The object at `path`, for example /api/v1/namespaces/x/pods/y."""
        return await self._object("GET", path, query)

    async def list(self, path: str, query: Query | None = None) -> Object:
        """The List at `path`, whole."""
        return await self._object("GET", path, query)

    async def create(self, path: str, obj: Object, query: Query | None = None) -> Object:
        """POST `obj` to a collection or subresource; the object as stored."""
        return await self._object("POST", path, query, obj)

    async def update(self, path: str, obj: Object, query: Query | None = None) -> Object:
        """PUT `obj`; the object as stored. Conflict if its resourceVersion is not the last."""
        return await self._object("PUT", path, query, obj)

    async def patch(self, path: str, body: Any, kind: str = "merge", query: Query | None = None) -> Object:
        """PATCH with kind "merge", "json", "strategic" or "apply"; the object as stored."""
        try:
            headers = {"content-type": wire.PATCH_TYPES[kind]}
        except KeyError:
            raise BadRequest(f"patch kind {kind!r} is not one of {', '.join(wire.PATCH_TYPES)}") from None
        return await self._object("PATCH", path, query, body, headers)

    async def delete(self, path: str, options: Object | None = None, query: Query | None = None) -> Object:
        """DELETE with DeleteOptions; the object while it is still going, or the Status of success."""
        return await self._object("DELETE", path, query, options)

    def watch(self, path: str, query: Query | None = None) -> Batches:
        """Lists of {"type", "object"} for ever, from query's resourceVersion or from now.

        A lost API server or broker is survived: the watch resumes from the last version seen, on any replica. Raises
        Expired when that version is too old, and the other errors that a retry cannot mend (400, 403, 404...).
        """
        return watch(self.bus, self.subject, path, dict(query or {}))

    async def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_LIMIT_S,
    ) -> tuple[int, Any]:
        """Code and body of any request; error codes are raised."""
        subject = self.subject("request")
        payload = wire.pack(
            {
                "method": method,
                "path": path,
                "query": {key: str(value) for key, value in (query or {}).items()},
                "headers": {"user-agent": self._agent, **(headers or {})},
                "body": body,
            }
        )
        try:
            reply = await self.bus.call(subject, payload, timeout=timeout)
        except NoResponders as exc:
            raise ServiceUnavailable("no API server answers") from exc
        except Disconnected as exc:
            raise ServiceUnavailable(f"the bus is away: {exc}") from exc
        except BusTimeout as exc:
            raise Timeout(f"{method} {path} was not answered within {timeout:g} s") from exc
        except BrokerError as exc:
            raise Forbidden(str(exc)) from exc
        code, answer = wire.read_answer(reply.data)
        if code >= 400:
            raise api_error_from_status(answer if isinstance(answer, dict) else {"code": code, "message": str(answer)})
        return code, answer

    async def _object(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        _, answer = await self.request(method, path, query, body, headers)
        return answer if isinstance(answer, dict) else {}
