"""Wiring of the API server: which part gets which, in which order they start."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.apiserver import admission
from services.apiserver.admission.subresources import Subresources
from services.apiserver.allocations import Allocator
from services.apiserver.audit import policy
from services.apiserver.audit.auditor import Auditor, Sink, Tee
from services.apiserver.audit.logfile import LogFile
from services.apiserver.auth.aggregation import Aggregation
from services.apiserver.auth.authentication import Authenticator
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.nodes import NodeAuthorizer
from services.apiserver.auth.opaque import StaticTokens
from services.apiserver.auth.roles import RoleIndex
from services.apiserver.bootstrap import bootstrap, own_request
from services.apiserver.bus import BusHandler
from services.apiserver.companions import Companions
from services.apiserver.discovery import Discovery
from services.apiserver.establishing import Establishing
from services.apiserver.handlers import special_handlers
from services.apiserver.health import Health
from services.apiserver.http import HttpServer, server_context
from services.apiserver.issuer import IssuerDocuments
from services.apiserver.pipeline import Pipeline
from services.apiserver.read import Reader
from services.apiserver.schemas import Schemas
from services.apiserver.settings import ApiSettings, AuditSettings
from services.apiserver.store import Store, Stream
from services.apiserver.typechecking import TypeChecking
from services.apiserver.watch import Watcher
from services.apiserver.write import Writer
from shared.bus.connection import connect
from shared.bus.port import Bus
from shared.bus.serve import ApiServerPort
from shared.identity import tokens
from shared.identity.places import Pki, pki_directory
from shared.identity.tokens import TokenKey
from shared.objects.custom.catalog import Catalog
from shared.service import Service
from shared.state import streams
from shared.state.cache import Cache
from shared.state.compactor import Compactor
from shared.state.feed import Feed
from shared.state.history import History
from shared.state.log import StateLog
from shared.state.record import keep_decoded
from shared.state.resting import rest
from shared.state.space import Space
from shared.state.watermark import Watermark, watermark_path

if TYPE_CHECKING:
    from services.apiserver.audit.shipping import Shipper

# objects held in decoded form, which weighs five to ten times their JSON
MOST_DECODED = 512

Start = Callable[..., object]


@dataclass(frozen=True, slots=True)
class State:
    """The caches of both streams, kept current by feeds."""

    store: Store
    is_current: Callable[[], bool]
    catalog: Catalog = field(default_factory=Catalog)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the front ends need of the assembled server."""

    pipeline: Pipeline
    authenticator: Authenticator
    store: Store
    shipper: "Shipper | None" = None


async def main(service: Service) -> None:
    """Run the API server until the process is told to stop."""
    settings = ApiSettings.from_environment()
    pki = Pki(pki_directory(settings.data))
    async with connect(service.settings, "apiserver") as bus, contextlib.AsyncExitStack() as stack:
        declared = (service.settings.bus_replicas, settings.history_revisions)
        await streams.ensure_streams(bus, *declared)
        watermark = Watermark(watermark_path(settings.data))
        await watermark.check(bus)
        service.start(streams.keep_streams(bus, *declared), name="streams of the broker")
        space = Space(settings.bus_store) if settings.bus_store else None
        state = await load_state(bus, service.start, space)
        service.start(watermark.follow(state.store.state.cache), name="watermark of the state log")
        key = tokens.load_key(pki.service_account_key)
        parts = await assemble(bus, state, settings, key, pki.ca_certificate.read_text())
        aggregation = Aggregation(parts.store, parts.pipeline.writer, own_request())
        service.start(aggregation.run(), name="aggregation of cluster roles")
        service.start(Compactor(bus, settings.history_seconds).run(), name="compaction of the history")
        establishing = Establishing(parts.store, parts.pipeline.writer, own_request())
        service.start(establishing.run(), name="establishing of custom resource definitions")
        if parts.pipeline.auditor is not None:
            stack.callback(parts.pipeline.auditor.close)
        if parts.shipper is not None:
            service.start(parts.shipper.run(), name="shipping of audit events")
            stack.push_async_callback(parts.shipper.close)
        checking = TypeChecking(parts.store, parts.pipeline.writer, own_request())
        service.start(checking.run(), name="type checking of policies")
        server = HttpServer(parts.pipeline, parts.authenticator)
        stack.push_async_callback(parts.pipeline.writer.admission.extensions.close)
        stack.push_async_callback(server.close)
        service.on_drain(server.close)
        context = server_context(pki.apiserver_certificate, pki.apiserver_key, pki.ca_certificate)
        bound = await server.start(settings.addresses, context)
        service.start(server.run(), name="http")
        service.log.info("serving on %s", ", ".join(f"{host}:{port}" for host, port in bound))
        service.ready = True
        await ApiServerPort(bus, BusHandler(parts.pipeline)).run()


async def load_state(bus: Bus, start: Start, space: Space | None = None) -> State:
    """Start the feeds of STATE and EVENTS with `start(coroutine, name=...)` and wait until both caches are loaded."""
    keep_decoded(MOST_DECODED)
    log = StateLog(bus)
    cache = Cache()
    state, events = Stream(log, cache, History(bus, cache)), Stream(log, Cache())
    catalog = Catalog(state.cache.wake)
    state.cache.on_change(catalog.changed)
    state_feed = Feed(bus, streams.STATE, state.cache)
    events_feed = Feed(bus, streams.EVENTS, events.cache)
    start(state_feed.run(), name="feed of STATE")
    start(events_feed.run(), name="feed of EVENTS")
    await state_feed.wait_loaded()
    await events_feed.wait_loaded()
    start(rest(state.cache, events.cache), name="resting of records")
    return State(Store(state, events, space), lambda: state_feed.current, catalog)


async def assemble(bus: Bus, state: State, settings: ApiSettings, key: TokenKey, root_ca: str) -> Parts:
    """Put the server together on a loaded state, and create what a new cluster begins with."""
    store = state.store
    nodes = NodeAuthorizer(store.state.cache)
    authorizer = Authorizer(nodes, RoleIndex(store.state.cache))
    static = StaticTokens.load(settings.static_tokens) if settings.static_tokens else StaticTokens()
    authenticator = Authenticator(store, key, static)
    admitting = admission.assemble(store, settings.not_ready_toleration, authorizer)
    allocator = Allocator(store, settings.service_network, settings.node_ports)
    writer = Writer(store, admitting, allocator, Companions(store, root_ca))
    await bootstrap(store, writer, settings.service_network, settings.advertise)
    reader = Reader(store)
    host, port = settings.advertise
    audit = settings.audit
    shipper = _shipper(audit) if audit else None
    pipeline = Pipeline(
        authorizer=authorizer,
        reader=reader,
        watcher=Watcher(reader),
        writer=writer,
        discovery=Discovery(f"{host}:{port}"),
        schemas=Schemas(),
        health=Health({"bus": lambda: bus.connected, "state": state.is_current}),
        issuer=IssuerDocuments(key, f"{host}:{port}"),
        special=special_handlers(bus, store, writer, authorizer, authenticator, key, nodes),
        subresources=Subresources(admitting.extensions),
        auditor=_auditor(audit, shipper, authorizer) if audit else None,
    )
    return Parts(pipeline, authenticator, store, shipper)


def _shipper(audit: AuditSettings) -> "Shipper | None":
    if audit.webhook is None:
        return None
    # an HTTP client and YAML, which few servers need
    from services.apiserver.audit.receiver import Receiver
    from services.apiserver.audit.shipping import Shipper

    return Shipper(Receiver.load(audit.webhook), audit.batching)


def _auditor(audit: AuditSettings, shipper: "Shipper | None", authorizer: Authorizer) -> Auditor:
    sink: Sink = LogFile(audit.log, audit.limits)
    if shipper is not None:
        sink = Tee(sink, shipper.write)
    return Auditor(policy.load(audit.policy), sink, authorizer)
