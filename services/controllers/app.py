"""Wiring of the controllers: one feed, one view, and a manager for as long as this process is the leader.

A process that does not lead keeps its cache current, so that it can take over without loading anything.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket

from prometheus_client import Gauge

from services.controllers.manager import Manager, parts
from services.controllers.nodes.presence import Presence
from services.controllers.settings import ControllerSettings
from services.controllers.view import View
from shared.bus.api import ApiClient
from shared.bus.connection import connect
from shared.errors import BusError
from shared.objects.custom.catalog import Catalog
from shared.service import Service
from shared.state.cache import Cache, Change
from shared.state.feed import Feed
from shared.state.leases import Leases, LeaseWatch, NodeLease
from shared.state.streams import STATE

LEADER_TTL = 5
"""Seconds until another process may take over from one that died."""

_leading = Gauge(
    "leader_election_master_status", "Gauge of if the reporting system is master of the relevant lease", ["name"]
)


class Controllers:
    """One process of the service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = ControllerSettings.from_environment(service.settings.data)
        # Nobody watches this cache, so old changes need not be kept for replays.
        self._cache = Cache(ring=1)
        self._view = View(self._cache)
        self._manager: Manager | None = None
        _leading.labels("controllers").set(0)

    async def run(self) -> None:
        """Follow the state; lead whenever leadership can be had."""
        # first of all: what a controller finds in the view it also finds in the API
        self._cache.on_change(Catalog().changed)
        self._cache.on_change(self._changed)
        identity = f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"
        async with connect(self._service.settings, "controllers") as bus, asyncio.TaskGroup() as group:
            feed = Feed(bus, STATE, self._cache)
            watch = LeaseWatch(bus)
            watch.on_change = self._lease_changed
            group.create_task(feed.run(), name="state feed")
            group.create_task(watch.run(), name="lease watch")
            await feed.wait_loaded()
            self._service.ready = True
            presence = Presence(watch, self._settings.node_grace)
            api = ApiClient(bus, "service.controllers")
            while True:
                async with Leases(bus).leadership("controllers", identity, LEADER_TTL) as lost:
                    await self._lead(api, presence, lost)

    async def _lead(self, api: ApiClient, presence: Presence, lost: asyncio.Event) -> None:
        try:
            # Whatever an earlier leader wrote must be seen before anything is decided.
            await self._cache.consistent()
        except BusError as error:
            self._service.log.info("leadership given back, the state is not at hand: %s", error)
            return
        self._service.log.info("leading")
        _leading.labels("controllers").set(1)
        self._manager = Manager(self._view, self._cache, api, presence, self._settings)
        try:
            await self._manager.run(lost)
        finally:
            self._manager = None
            _leading.labels("controllers").set(0)
        self._service.log.warning("leadership lost")

    def _changed(self, change: Change) -> None:
        self._view.apply(*parts(change))
        if self._manager is not None:
            self._manager.changed(change)

    def _lease_changed(self, lease: NodeLease) -> None:
        if self._manager is not None:
            self._manager.lease_changed(lease.node)


async def main(service: Service) -> None:
    """Run until the process is stopped."""
    await Controllers(service).run()
