"""Carrying out plans: what an answer, or its absence, means for the next look."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers.actions import Create, Delete, Note, Patch, Require, Together, Update
from services.controllers.claims import ref_of
from services.controllers.writer import SIDE_BY_SIDE, UNREACHABLE, Outcome, Writer
from shared.errors import AlreadyExists, Conflict, Forbidden, InternalError, NotFound, ServiceUnavailable
from shared.events.subjects import Ref
from shared.objects import meta
from tests.unit.services.controllers.objects import pod, replicaset
from tests.unit.services.controllers.world import World, WorldApi

Object = dict[str, Any]


class Told:
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def record(self, regarding: Object, kind: str, reason: str, message: str) -> None:
        self.events.append((kind, reason, message))


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def writer(world: World, told: Told) -> Writer:
    return Writer(WorldApi(world), told)  # type: ignore[arg-type]


def create(name: str, **more: Any) -> Create:
    obj = pod(name)
    return Create(ref_of("", "pods", obj), obj, **more)


async def test_the_outcome_names_the_highest_revision_written(world: World, writer: Writer) -> None:
    outcome = await writer.perform([create("a"), create("b")])
    assert outcome == Outcome(revision=world.revision)


async def test_an_immediate_deletion_calls_for_a_barrier(world: World, writer: Writer) -> None:
    stored = world.put(pod("a"))
    outcome = await writer.perform([Delete(ref_of("", "pods", stored), uid=meta.uid(stored))])
    assert outcome.ok
    assert outcome.barrier


async def test_what_is_gone_already_need_not_be_deleted(writer: Writer) -> None:
    assert (await writer.perform([Delete(ref_of("", "pods", pod("a")))])).ok


async def test_a_resource_that_is_not_served_any_more_calls_for_another_look(writer: Writer) -> None:
    gone = Delete(Ref("crontabs.example.com", "crontabs", "default", "a"))
    outcome = await writer.perform([Together((gone, create("a")))])
    assert outcome.stale
    assert outcome.barrier
    assert outcome.failure is None


async def test_the_first_failure_ends_the_plan(world: World, writer: Writer) -> None:
    world.refuse = lambda method, obj: Forbidden("quota") if obj and meta.name(obj) == "b" else None
    outcome = await writer.perform([create("a"), create("b"), create("c")])
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.message) == ("FailedCreate", "quota")
    assert [ref.name for ref in world.stored] == ["a"]


async def test_a_slow_start_gives_up_at_the_first_failing_batch(world: World, writer: Writer) -> None:
    asked: list[str] = []

    def refuse(method: str, obj: Object | None) -> Forbidden | None:
        asked.append(method)
        return Forbidden("quota") if len(asked) > 2 else None

    world.refuse = refuse
    await writer.perform([Together(tuple(create(f"p{number}") for number in range(50)), slow_start=True)])
    assert len(asked) == 3


async def test_one_refusal_among_many_does_not_keep_the_others_back(world: World, writer: Writer) -> None:
    stored = [world.put(pod(f"p{number}")) for number in range(200)]
    world.refuse = lambda method, options: (
        Forbidden("held") if options and options["preconditions"]["uid"] == meta.uid(stored[0]) else None
    )
    deletions = tuple(Delete(ref_of("", "pods", one), uid=meta.uid(one)) for one in stored)
    outcome = await writer.perform([Together(deletions)])
    assert outcome.failure is not None
    assert [ref.name for ref in world.stored] == ["p0"]


async def test_when_nobody_answers_the_rest_is_not_tried(world: World, writer: Writer) -> None:
    asked: list[str] = []

    def refuse(method: str, obj: Object | None) -> ServiceUnavailable:
        asked.append(method)
        return ServiceUnavailable("away")

    world.refuse = refuse
    await writer.perform([Together(tuple(create(f"p{number}") for number in range(200)))])
    assert len(asked) == SIDE_BY_SIDE


async def test_created_and_refused_pods_are_told_about(world: World, writer: Writer, told: Told) -> None:
    world.refuse = lambda method, obj: Forbidden("quota") if obj and meta.name(obj) == "b" else None
    await writer.perform([create("a", regarding=replicaset()), create("b", regarding=replicaset())])
    assert told.events == [
        ("Normal", "SuccessfulCreate", "Created pod: a"),
        ("Warning", "FailedCreate", "Error creating: quota"),
    ]


@pytest.mark.parametrize(
    ("error", "stale", "reason"),
    [
        (AlreadyExists("there"), True, None),
        (ServiceUnavailable("away"), False, UNREACHABLE),
        (InternalError("broken"), False, "FailedCreate"),
        (Forbidden("ends", details={"causes": [{"reason": "NamespaceTerminating"}]}), True, None),
        (NotFound("no namespace"), False, "FailedCreate"),
    ],
)
async def test_what_a_refused_creation_means(
    world: World, writer: Writer, error: Any, stale: bool, reason: str | None
) -> None:
    world.refuse = lambda method, obj: error
    outcome = await writer.perform([create("a")])
    assert outcome.stale is stale
    assert (outcome.failure.reason if outcome.failure else None) == reason
    assert outcome.barrier


async def test_an_object_that_somebody_else_made_may_be_fine(world: World, writer: Writer) -> None:
    world.put(pod("a"))
    assert (await writer.perform([create("a", existing="fine")])).ok


@pytest.mark.parametrize("error", [Conflict("changed"), NotFound("gone")])
async def test_a_write_to_what_has_changed_makes_the_plan_stale(world: World, writer: Writer, error: Any) -> None:
    stored = world.put(pod("a"))
    world.refuse = lambda method, obj: error
    outcome = await writer.perform([Update(ref_of("", "pods", stored), stored)])
    assert outcome.stale
    assert outcome.failure is None


async def test_adoption_stops_when_the_owner_is_going(world: World, writer: Writer) -> None:
    owner, loose = world.put(replicaset()), world.put(pod("a"))
    ref = ref_of("apps", "replicasets", owner)
    adopt = Patch(ref_of("", "pods", loose), {"metadata": {"labels": {"adopted": "yes"}}})
    assert (await writer.perform([Require(ref, meta.uid(owner)), adopt])).ok
    world.remove(owner, propagationPolicy="Foreground")
    assert (await writer.perform([Require(ref, meta.uid(owner)), adopt])).stale
    assert (await writer.perform([Require(ref, "another")])).stale


async def test_notes_go_to_the_recorder_in_their_place(writer: Writer, told: Told) -> None:
    await writer.perform([Note(replicaset(), "Scaled", "up"), create("a", regarding=replicaset())])
    assert [reason for _, reason, _ in told.events] == ["Scaled", "SuccessfulCreate"]
