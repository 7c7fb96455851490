"""Follows each request through its stages and writes what the policy wants to keep.

Source: k8s.io/apiserver, endpoints/filters/audit.go: a long-running request (a watch, a stream) has an event when its
answer begins and another when it ends, any other one when it was received and when it was answered.
"""

import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from services.apiserver.admission.webhooks.dispatch import PATCHED
from services.apiserver.audit import events, instruments
from services.apiserver.audit.policy import (
    COMPLETE,
    METADATA,
    NONE,
    PANIC,
    RECEIVED,
    REQUEST_RESPONSE,
    STARTED,
    Decision,
    Policy,
)
from services.apiserver.auth import requests
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.failures import status_of
from services.apiserver.protocol import Object, Outcome, ProtocolSwitch, Request, Stream, Upgrade, Watching
from services.apiserver.routes import Attributes
from shared.errors import ApiError, Forbidden
from shared.objects import times

log = logging.getLogger(__name__)

DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"


class Sink(Protocol):
    """Where events go."""

    def write(self, line: bytes) -> None:
        """Keep a line. OSError if it cannot be kept."""
        ...

    def close(self) -> None: ...


class Tee:
    """A sink whose events are shipped as well, whether or not it can keep them."""

    def __init__(self, sink: Sink, ship: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._ship = ship

    def write(self, line: bytes) -> None:
        """OSError if the sink cannot keep the line."""
        self._ship(line)
        self._sink.write(line)

    def close(self) -> None:
        self._sink.close()


class Trail:
    """The events of one request."""

    def __init__(self, sink: Sink, request: Request, asked: Attributes, decision: Decision) -> None:
        self._sink = sink
        self.request = request
        self.decision = decision
        self.event = events.begun(request, asked, decision)
        self._received = times.micro_now()
        self._ended = False

    def write(self, stage: str) -> None:
        """Keep the event as of a stage, unless it is one that is left out."""
        if stage in self.decision.omit_stages:
            return
        self.event["stage"] = stage
        received = self._received
        now = received if stage == RECEIVED else times.micro_now()
        told = self.event | {"requestReceivedTimestamp": received, "stageTimestamp": now}
        annotations = self.request.annotations
        if annotations and self.decision.level == METADATA:
            # a patch tells of bodies
            annotations = {key: value for key, value in annotations.items() if not key.startswith(PATCHED)}
        if annotations:
            told["annotations"] = annotations
        try:
            self._sink.write(events.encode(told))
        except OSError as exc:
            # kube-apiserver serves on as well; whoever must know watches the metric
            instruments.ERRORS.labels("log").inc()
            log.error("an audit event is lost: %s", exc)
        else:
            instruments.EVENTS.inc()

    def end(self, status: Object | None = None) -> None:
        """The answer is over; only the first call counts."""
        if not self._ended:
            self._ended = True
            if status is not None:
                self.event["responseStatus"] = status
            self.write(COMPLETE)


class Auditor:
    """Wraps the pipeline; see the module."""

    def __init__(self, policy: Policy, sink: Sink, authorizer: Authorizer) -> None:
        self._policy = policy
        self._sink = sink
        self._authorizer = authorizer

    def close(self) -> None:
        """Write no more."""
        self._sink.close()

    async def handle(self, request: Request, serve: Callable[[Request], Awaitable[Outcome]]) -> Outcome:
        """Serve a request and record it."""
        trail, asked = self._begin(request)
        if trail is None:
            return await serve(request)
        trail.write(RECEIVED)
        await events.add_request(trail.event, request, trail.decision)
        try:
            outcome = await serve(request)
        except ApiError as exc:
            if isinstance(exc, Forbidden) and DECISION not in (request.annotations or {}):
                self._note_refusal(request, asked)
            self._fail(trail, exc)
            raise
        except Exception as exc:
            text = f"{type(exc).__name__}: {exc}"
            trail.event["responseStatus"] = {"metadata": {}, "status": "Failure", "message": text, "code": 500}
            trail.write(PANIC)
            raise
        except BaseException:
            trail.end({"metadata": {}, "status": "Success", "message": events.CLOSED_EARLY, "code": 200})
            raise
        trail.event["responseStatus"] = events.status_of_outcome(outcome)
        if isinstance(outcome, Watching | Stream | Upgrade | ProtocolSwitch):
            trail.write(STARTED)
            return _followed(outcome, trail)
        events.add_response(trail.event, outcome, request, trail.decision)
        trail.end()
        return outcome

    def refused(self, request: Request, error: ApiError) -> None:
        """Record a request whose caller could not be found out, or may not act as somebody else."""
        trail, _ = self._begin(request)
        if trail is not None:
            trail.event["responseStatus"] = events.status_of_failure(error)
            trail.write(STARTED)

    def _begin(self, request: Request) -> tuple[Trail | None, Attributes]:
        asked = requests.attributes(request.method, request.path, watch=request.query.flag("watch"))
        decision = self._policy.decide(request.impersonator or request.user, asked)
        instruments.LEVELS.labels(decision.level).inc()
        if decision.level == NONE:
            return None, asked
        request.annotations = {}
        return Trail(self._sink, request, asked, decision), asked

    def _note_refusal(self, request: Request, asked: Attributes) -> None:
        decision = self._authorizer.decide(request.user, asked)
        if not decision.allowed:
            request.note(DECISION, "forbid")
            request.note(REASON, decision.reason)

    def _fail(self, trail: Trail, error: ApiError) -> None:
        if trail.decision.level == REQUEST_RESPONSE:
            trail.event["responseObject"] = status_of(error)
        trail.end(events.status_of_failure(error))


def _followed(outcome: Watching | Stream | Upgrade | ProtocolSwitch, trail: Trail) -> Outcome:
    """The same outcome, whose end is recorded."""
    if isinstance(outcome, Watching):
        close = outcome.close

        def closed() -> None:
            close()
            trail.end()

        return dataclasses.replace(outcome, close=closed)
    if isinstance(outcome, Stream):
        shut = outcome.close

        async def ended() -> None:
            if shut is not None:
                await shut()
            trail.end()

        return dataclasses.replace(outcome, close=ended)
    serve: Callable[[Any], Awaitable[None]] = outcome.serve

    async def served(connection: Any) -> None:
        try:
            await serve(connection)
        finally:
            trail.end()

    return dataclasses.replace(outcome, serve=served)
