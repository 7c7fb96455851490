"""The API for nodes and services over the bus: the same pipeline, the caller named by the broker."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.apiserver import render
from services.apiserver.auth import requests
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.impersonation import impersonate
from services.apiserver.failures import method_not_allowed, status_of
from services.apiserver.http import prepare, to_raw
from services.apiserver.negotiation import Accepted
from services.apiserver.pipeline import Pipeline
from services.apiserver.protocol import JSON, ProtocolSwitch, Query, Raw, Request, Stream, Upgrade, Watching
from shared.bus.serve import Caller
from shared.errors import ApiError
from shared.identity.users import User
from shared.objects import json

PLAIN = Accepted(JSON)


class BusHandler:
    """What `shared.bus.serve.ApiServerPort` calls."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def request(
        self, caller: Caller, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        """Serve a request; a body is an object or a patch, the answer is JSON bytes."""
        request = _request(self._pipeline.authorizer, caller, method, path, query, headers, body)
        try:
            outcome = await self._pipeline.handle(request)
        except ApiError as exc:
            return exc.code, status_of(exc)
        if isinstance(outcome, Watching | Stream | Upgrade | ProtocolSwitch):
            if isinstance(outcome, Watching):
                outcome.close()
            raise method_not_allowed()
        await prepare(request, outcome)
        raw: Raw = to_raw(request, outcome)
        if raw.content_type == JSON:
            return raw.status, raw.whole
        return raw.status, {"text": raw.whole.decode(errors="replace")}

    async def watch(self, caller: Caller, path: str, query: dict[str, str]) -> AsyncIterator[Sequence[bytes]]:
        """Serve a watch as batches of encoded events."""
        watching = {**query, "watch": "true"}
        request = _request(self._pipeline.authorizer, caller, "GET", path, watching, {}, None)
        outcome = await self._pipeline.handle(request)
        if not isinstance(outcome, Watching):
            raise method_not_allowed()
        return _batches(outcome, request)


async def _batches(outcome: Watching, request: Request) -> AsyncIterator[Sequence[bytes]]:
    try:
        async for batch in outcome.batches:
            yield [render.event(outcome.resource, one, PLAIN, request.query) for one in batch]
    finally:
        outcome.close()


def _request(
    authorizer: Authorizer,
    caller: Caller,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: Any,
) -> Request:
    user = caller_user = User(caller.user, caller.groups)
    lower = {name.lower(): value for name, value in headers.items()}
    if any(name.startswith("impersonate-") for name in lower):
        action = requests.attributes(method, path, watch="watch" in query)
        user = impersonate(user, {name: [value] for name, value in lower.items()}, authorizer, action)
    encoded = b"" if body is None else body if isinstance(body, bytes) else json.encode(body)
    request = Request(user, method, path, Query({name: [value] for name, value in query.items()}), lower, encoded)
    request.impersonator = caller_user if user is not caller_user else None
    return request
