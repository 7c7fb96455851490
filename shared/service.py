"""What is the same at the start of every service process: settings, logging, event loop, metrics, supervision."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from shared.errors import SettingsError
from shared.metrics import MetricsServer
from shared.settings import Settings
from shared.supervisor import DRAIN_LIMIT_S, Drain, Supervisor

log = logging.getLogger(__name__)

GC_THRESHOLDS = (50_000, 20, 50)


class Service:
    """Handed to a service's main. `ready` is what /readyz answers."""

    def __init__(self, name: str, settings: Settings, supervisor: Supervisor) -> None:
        self.name = name
        self.settings = settings
        self.log = logging.getLogger(f"services.{name}")
        self.ready = False
        self._supervisor = supervisor

    @property
    def stopping(self) -> asyncio.Event:
        """Set as soon as SIGTERM or SIGINT arrived."""
        return self._supervisor.stopping

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run a background task for the life of the service; its failure ends the process."""
        return self._supervisor.start(coroutine, name=name)

    def on_drain(self, drain: Drain, limit_s: float = DRAIN_LIMIT_S) -> None:
        """Await `drain` (within `limit_s` seconds) after a signal and before main is cancelled."""
        self._supervisor.on_drain(drain, limit_s)


def run(name: str, main: Callable[[Service], Awaitable[None]], settings: Settings | None = None) -> None:
    """Run a service until main returns or SIGTERM or SIGINT arrives; exits with 1 after a failure, 2 for settings.

    With WHERRY_METRICS_ADDRESS set, /metrics, /healthz and /readyz are served there.
    """
    try:
        settings = settings or Settings.from_environment()
    except SettingsError as exc:
        sys.stderr.write(f"{name}: {exc}\n")
        raise SystemExit(2) from exc
    configure_logging(settings.log_level)
    # Objects are trees without cycles, so reference counts free nearly everything; what was imported stays for good.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_supervise(name, main, settings))
    except Exception as exc:
        log.critical("%s failed", name, exc_info=exc)
        raise SystemExit(1) from exc


async def _supervise(name: str, main: Callable[[Service], Awaitable[None]], settings: Settings) -> None:
    supervisor = Supervisor()
    service = Service(name, settings, supervisor)

    async def supervised() -> None:
        await main(service)

    if settings.metrics_address is None:
        await supervisor.run(supervised())
        return
    with MetricsServer(*settings.metrics_address, ready=lambda: service.ready):
        await supervisor.run(supervised())


def configure_logging(level: str) -> None:
    """One line per record on standard error, where the supervisor or systemd collects it."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        force=True,
    )
