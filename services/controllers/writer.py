"""The edge: carries out plans through the API and says up to which revision the cache must be before the next look.

A write's answer holds the new resourceVersion. Where it does not (an immediate deletion answers a Status, a broken
connection answers nothing) the next reconciliation of the key waits behind a barrier instead, which every
acknowledged or already failed write precedes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.controllers import paths
from services.controllers.actions import (
    Action,
    Create,
    Delete,
    DeleteAll,
    Failure,
    Note,
    Object,
    Patch,
    Require,
    Together,
    Update,
)
from shared.errors import AlreadyExists, ApiError, BusError, Conflict, NotFound, ServiceUnavailable, StateError, Timeout

UNREACHABLE = "Unreachable"
"""Reason of a failure that says nothing about the object: no API server answered."""

SIDE_BY_SIDE = 64
"""Most requests in flight for one `Together`."""


class Api(Protocol):
    """What the writer needs of the API client."""

    async def get(self, path: str, query: Any = None) -> Object: ...
    async def create(self, path: str, obj: Object, query: Any = None) -> Object: ...
    async def update(self, path: str, obj: Object) -> Object: ...
    async def patch(self, path: str, body: Any, kind: str = "merge") -> Object: ...
    async def delete(self, path: str, options: Object | None = None) -> Object: ...


class Recorder(Protocol):
    """What the writer needs of the recorder of events."""

    def record(self, obj: Object, kind: str, reason: str, message: str) -> None: ...


@dataclass(slots=True)
class Outcome:
    """What became of a plan.

    `revision` is the highest revision written; `barrier` says that writes of unknown revision may exist; `stale` that
    the plan was made for a state that is no longer; `failure` is what the API or the bus said.
    """

    revision: int = 0
    barrier: bool = False
    stale: bool = False
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether the whole plan was carried out."""
        return not self.stale and self.failure is None

    @property
    def unreachable(self) -> bool:
        """Whether there is nobody who could carry anything out."""
        return self.failure is not None and self.failure.reason == UNREACHABLE


class Writer:
    """Performs actions; the first one that fails ends the plan."""

    def __init__(self, api: Api, recorder: Recorder) -> None:
        self._api = api
        self._recorder = recorder

    async def perform(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions in order."""
        outcome = Outcome()
        for action in actions:
            await self._one(action, outcome)
            if not outcome.ok:
                break
        return outcome

    async def _one(self, action: Action, outcome: Outcome) -> None:
        if isinstance(action, Note):
            self._recorder.record(action.regarding, action.type, action.reason, action.message)
            return
        if isinstance(action, Together):
            await self._together(action, outcome)
            return
        try:
            answer = await self._send(action)
        except ApiError as error:
            self._refused(action, error, outcome)
        except BusError as error:
            outcome.barrier = True
            outcome.failure = Failure(UNREACHABLE, str(error))
        except StateError:
            # a custom resource whose definition went after the plan was made; its objects go with it
            outcome.stale = outcome.barrier = True
        else:
            self._accepted(action, answer, outcome)

    async def _together(self, together: Together, outcome: Outcome) -> None:
        todo = list(together.actions)
        size = 1 if together.slow_start else SIDE_BY_SIDE
        while todo and not (together.slow_start and not outcome.ok) and not outcome.unreachable:
            batch, todo = todo[:size], todo[size:]
            async with asyncio.TaskGroup() as group:
                for action in batch:
                    group.create_task(self._one(action, outcome), name=f"{type(action).__name__} {action.ref.name}")
            if together.slow_start:
                size = min(SIDE_BY_SIDE, size * 2)

    async def _send(self, action: Create | Update | Patch | Delete | DeleteAll | Require) -> Object:
        if isinstance(action, DeleteAll):
            where = paths.collection(action.group, action.resource, action.namespace)
            return await self._api.delete(where, {"propagationPolicy": "Background"})
        ref = action.ref
        if isinstance(action, Create):
            return await self._api.create(paths.collection(ref.group, ref.resource, ref.namespace), action.obj)
        if isinstance(action, Update):
            return await self._api.update(paths.path(ref, action.subresource), action.obj)
        if isinstance(action, Patch):
            return await self._api.patch(paths.path(ref, action.subresource), action.body, kind=action.kind)
        if isinstance(action, Delete):
            return await self._api.delete(paths.path(ref), _options(action))
        return await self._api.get(paths.path(ref))

    def _accepted(self, action: Action, answer: Object, outcome: Outcome) -> None:
        if isinstance(action, Require):
            metadata = answer["metadata"]
            outcome.stale |= metadata["uid"] != action.uid or bool(metadata.get("deletionTimestamp"))
            outcome.barrier |= outcome.stale
            return
        if isinstance(action, DeleteAll):
            return
        version = answer.get("metadata", {}).get("resourceVersion")
        if version and answer.get("kind") != "Status":
            outcome.revision = max(outcome.revision, int(version))
        else:
            outcome.barrier = True
        if isinstance(action, Create | Delete) and action.regarding is not None:
            verb, past = ("Create", "Created") if isinstance(action, Create) else ("Delete", "Deleted")
            noun = action.ref.resource.removesuffix("s")
            self._recorder.record(action.regarding, "Normal", f"Successful{verb}", f"{past} {noun}: {action.ref.name}")

    def _refused(self, action: Action, error: ApiError, outcome: Outcome) -> None:
        outcome.barrier = True
        if isinstance(error, AlreadyExists) and isinstance(action, Create):
            outcome.stale |= action.existing == "wait"
        elif isinstance(error, NotFound) and isinstance(action, Delete | DeleteAll):
            return
        elif _is_stale(action, error):
            outcome.stale = True
        elif isinstance(error, ServiceUnavailable | Timeout):
            outcome.failure = Failure(UNREACHABLE, error.message)
        else:
            verb = type(action).__name__
            outcome.failure = Failure(f"Failed{verb}", error.message)
            if isinstance(action, Create | Delete) and action.regarding is not None:
                gerund = "creating" if isinstance(action, Create) else "deleting"
                self._recorder.record(action.regarding, "Warning", f"Failed{verb}", f"Error {gerund}: {error.message}")


def _options(action: Delete) -> Object:
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if action.propagation is not None:
        options["propagationPolicy"] = action.propagation
    if action.grace is not None:
        options["gracePeriodSeconds"] = action.grace
    preconditions = {}
    if action.uid:
        preconditions["uid"] = action.uid
    if action.resource_version:
        preconditions["resourceVersion"] = action.resource_version
    if preconditions:
        options["preconditions"] = preconditions
    return options


def _is_stale(action: Action, error: ApiError) -> bool:
    if not isinstance(action, Create):
        return isinstance(error, NotFound | Conflict)
    # A namespace that goes away refuses new objects; its workloads are deleted next, so nobody needs to hear of it.
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
