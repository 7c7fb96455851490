"""What a decision may ask for: the whole vocabulary between pure decisions and the one place that performs them.

A controller never talks to the API. It returns a `Plan`, and `writer.Writer` carries it out in order, so that a unit
test can assert on the exact instructions and a crash between two of them is just a shorter plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from shared.events.subjects import Ref

Object: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]
"""Namespace and name of the object that one reconciliation is about; the namespace of cluster-scoped objects is ""."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create `obj`. With `regarding`, the outcome is recorded as SuccessfulCreate / FailedCreate on that object.

    `existing` says what an already existing object of that name means: "wait" (a create of ours that the cache did
    not show yet: look again) or "fine" (somebody made it, which is all that was wanted).
    """

    ref: Ref
    obj: Object
    regarding: Object | None = None
    existing: Literal["wait", "fine"] = "wait"


@dataclass(frozen=True, slots=True)
class Update:
    """Replace an object at the resourceVersion it carries; `subresource` "status" or "finalize" replaces that part."""

    ref: Ref
    obj: Object
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """Patch an object. Put `metadata.uid` or `metadata.resourceVersion` into the body to make it conditional."""

    ref: Ref
    body: Any
    kind: Literal["merge", "json", "strategic"] = "merge"
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object with this uid; `grace` in seconds, None leaves the object's own grace period in force."""

    ref: Ref
    uid: str = ""
    resource_version: str = ""
    propagation: Literal["Background", "Foreground", "Orphan"] | None = "Background"
    grace: int | None = None
    regarding: Object | None = None


@dataclass(frozen=True, slots=True)
class DeleteAll:
    """Delete every object of a namespaced resource that does not live in the state log (events)."""

    group: str
    resource: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Require:
    """Stop the plan unless the object still exists with this uid and is not being deleted, asked of the API itself.

    Needed before adoption: an owner deleted a moment ago must not take orphans with it.
    """

    ref: Ref
    uid: str


@dataclass(frozen=True, slots=True)
class Note:
    """Record an Event on `regarding`."""

    regarding: Object
    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True)
class Together:
    """Independent actions carried out side by side; that some are refused keeps none of the others back.

    `slow_start` sends batches of 1, 2, 4, ... and gives up at the first failing batch, so that a quota that refuses
    every pod costs one request instead of hundreds.
    """

    actions: tuple[Create | Update | Patch | Delete, ...]
    slow_start: bool = False


Action: TypeAlias = Create | Update | Patch | Delete | DeleteAll | Require | Note | Together


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order, and in how many seconds to look again although nothing changed (None: not needed)."""

    actions: tuple[Action, ...] = ()
    again_after: float | None = None


NOTHING = Plan()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the previous plan for the same key could not be carried out, for conditions such as ReplicaFailure."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Moment:
    """When a decision is made (seconds since the epoch) and how the previous plan for its key ended."""

    now: float
    failure: Failure | None = None


def soonest(*delays: float | None) -> float | None:
    """The smallest of several optional delays."""
    known = [delay for delay in delays if delay is not None]
    return min(known) if known else None
