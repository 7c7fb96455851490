"""Wiring of the registry: bus, buckets, HTTP listener, metrics, daily sweep.

Why it binds one address only: inside the cluster it is used without authentication, so it listens on the underlay
(WHERRY_REGISTRY_ADDRESS) and nowhere else.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest

from services.registry import chunks, keys
from services.registry.chunks import Chunks
from services.registry.failures import RegistryFailure
from services.registry.keys import Keys
from services.registry.repositories import Repositories
from services.registry.routes import ROUTE, STARTED, Routes
from services.registry.sweep import Sweep
from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.bus.port import Bus
from shared.bus.reconnections import after_each
from shared.errors import BusError
from shared.service import Service
from shared.settings import parse_address

log = logging.getLogger(__name__)

DEFAULT_ADDRESS = "10.89.0.1:5000"
SWEEP_S = 24 * 3600.0
FIRST_SWEEP_S = 600.0
"""Seconds after the start: a machine that is switched off every night must be swept, too."""
READ_BUFFER = 256 << 10

REQUESTS = Counter("registry_http_requests", "HTTP requests", ["code", "method", "handler"])
DURATION = Histogram("registry_http_request_duration_seconds", "time to answer", ["method", "handler"])
BYTES = Counter("registry_storage_bytes", "blob bytes served and received", ["direction"])


async def main(service: Service) -> None:
    """Serve until cancelled."""
    address = os.environ.get("WHERRY_REGISTRY_ADDRESS") or DEFAULT_ADDRESS
    host, port = parse_address("WHERRY_REGISTRY_ADDRESS", address)
    async with (
        connect(service.settings, "registry") as bus,
        Server(bus, host, port, service.settings.bus_replicas) as running,
    ):
        service.start(running.keep_buckets(), name="buckets")
        service.ready = True
        service.log.info("registry listens on %s:%d", host, running.port)
        pause = FIRST_SWEEP_S
        while True:
            await asyncio.sleep(pause)
            pause = SWEEP_S
            try:
                await running.sweep.run()
            except BusError as exc:
                service.log.warning("sweep put off: %s", exc)


class Server:
    """The HTTP side of a registry on a connected bus; `port` 0 takes any free port."""

    def __init__(self, bus: Bus, host: str, port: int, replicas: int = 1) -> None:
        self._replicas = replicas
        self._bus = bus
        self._host = host
        self.port = port
        jetstream = JetStream(bus)
        self._jetstream = jetstream
        self._keys = Keys(jetstream)
        self._chunks = Chunks(bus, jetstream)
        self.repositories = Repositories(self._keys, self._chunks)
        self.sweep = Sweep(self._keys, self._chunks, self.repositories)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Server":
        await self._declare()
        self._runner = web.AppRunner(
            application(self.repositories, lambda: self._bus.connected), access_log=None, read_bufsize=READ_BUFFER
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def keep_buckets(self) -> None:
        """Declare the buckets again whenever the broker comes back, for it may be unable to read their files."""
        await after_each(self._bus, self._redeclare, "declaring the buckets of the registry")

    async def _redeclare(self) -> None:
        for stream in await self._declare():
            log.error("bucket %s was gone and is declared anew: push what is missing from it again", stream)

    async def _declare(self) -> list[str]:
        """Declare both buckets; the names of those that were missing."""
        configs = (keys.config(self._replicas), chunks.config(self._replicas))
        return [str(one["name"]) for one in configs if await self._jetstream.ensure_stream(one, wait=True)]

    async def __aexit__(self, *_: object) -> None:
        if self._runner:
            await self._runner.cleanup()


def application(repositories: Repositories, ready: Callable[[], bool]) -> web.Application:
    """The HTTP application: the API, and /metrics, /healthz, /readyz on the same port."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if ready() else web.Response(status=503, text="no connection to the bus")

    app = web.Application(middlewares=[_answer], client_max_size=0)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    Routes(repositories).add_to(app)
    return app


@web.middleware
async def _answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn failures into error documents and count requests."""
    started = time.perf_counter()
    code = 500
    try:
        response = await handler(request)
        code = response.status
        return response
    except RegistryFailure as exc:
        answer = exc.response()
        code = answer.status
        return answer
    except BusError as exc:
        code = 503
        if _is_started(request):
            raise  # the body is cut off, which the client sees by its length
        return RegistryFailure("UNAVAILABLE", f"storage: {exc}", {"Retry-After": "1"}).response()
    except web.HTTPException as exc:
        code = exc.status
        raise
    finally:
        route = request.get(ROUTE, "other")
        REQUESTS.labels(str(code), request.method, route).inc()
        DURATION.labels(request.method, route).observe(time.perf_counter() - started)


def _is_started(request: web.Request) -> bool:
    return bool(request.get(STARTED))
