"""PodDisruptionBudgets: what is expected, what is healthy, and what may go."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers import disruption, instants
from services.controllers.actions import Note, Plan, Update
from services.controllers.disruption import Expected, Situation
from shared.objects import meta
from tests.unit.services.controllers.cluster import controllers, settled
from tests.unit.services.controllers.objects import budget, deployment, job, pod, replicaset
from tests.unit.services.controllers.test_convergence import run_all
from tests.unit.services.controllers.world import World

NOW = 1_800_000_000.0
Object = dict[str, Any]


def stored(status: Object | None = None, **spec: Any) -> Object:
    found = budget(**spec)
    found["metadata"] |= {"uid": "pdb", "generation": 1}
    return {**found, "status": status or {}}


def healthy(count: int, ready: int | None = None) -> list[Object]:
    found = []
    for number in range(count):
        status = "True" if ready is None or number < ready else "False"
        one = pod(f"p{number}", uid=f"uid-{number}")
        one["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}
        found.append(one)
    return found


def decide(obj: Object, pods: list[Object], scale: Expected | None = None) -> Plan:
    return disruption.decide(Situation(obj, pods, scale or Expected(len(pods)), NOW))


def status_of(plan: Plan) -> Object:
    update = plan.actions[0]
    assert isinstance(update, Update)
    return update.obj["status"]


def numbers(status: Object) -> tuple[int, int, int, int]:
    names = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    expected, current, desired, allowed = (status[name] for name in names)
    return expected, current, desired, allowed


@pytest.mark.parametrize(
    ("spec", "pods", "ready", "scale", "expected"),
    [
        ({"minAvailable": 2}, 3, 3, 9, (3, 3, 2, 1)),
        ({"minAvailable": 2}, 3, 1, 9, (3, 1, 2, 0)),
        ({"minAvailable": "50%"}, 5, 5, 5, (5, 5, 3, 2)),
        ({"maxUnavailable": 1}, 3, 3, 3, (3, 3, 2, 1)),
        ({"maxUnavailable": 1}, 2, 2, 3, (3, 2, 2, 0)),
        ({"maxUnavailable": "30%"}, 10, 10, 10, (10, 10, 7, 3)),
        ({"maxUnavailable": "25%"}, 3, 3, 3, (3, 3, 2, 1)),
        ({"maxUnavailable": 5}, 3, 2, 3, (3, 2, 0, 2)),
        ({"minAvailable": 0}, 0, 0, 0, (0, 0, 0, 0)),
    ],
)
def test_a_budget_counts(spec: Object, pods: int, ready: int, scale: int, expected: tuple[int, ...]) -> None:
    assert numbers(status_of(decide(stored(**spec), healthy(pods, ready), Expected(scale)))) == expected


def test_the_condition_says_whether_pods_suffice_and_keeps_its_time() -> None:
    first = status_of(decide(stored(minAvailable=2), healthy(3)))
    (condition,) = first["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed",
        "True",
        "SufficientPods",
    )
    assert condition["observedGeneration"] == first["observedGeneration"] == 1
    old = {**first, "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    again = status_of(decide(stored(old, minAvailable=2), healthy(4)))
    assert again["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    fewer = status_of(decide(stored(old, minAvailable=2), healthy(2)))
    assert fewer["conditions"][0]["reason"] == "InsufficientPods"
    assert fewer["conditions"][0]["lastTransitionTime"] == instants.text(NOW)


def test_a_status_that_is_right_is_not_written_again() -> None:
    status = status_of(decide(stored(minAvailable=2), healthy(3)))
    assert decide(stored(status, minAvailable=2), healthy(3)).actions == ()


def test_an_evicted_pod_counts_as_gone_until_its_time_is_up() -> None:
    status = {"disruptedPods": {"p0": instants.text(NOW - 20), "vanished": instants.text(NOW)}}
    plan = decide(stored(status, minAvailable=2), healthy(3))
    assert numbers(status_of(plan)) == (3, 2, 2, 0)
    assert status_of(plan)["disruptedPods"] == {"p0": instants.text(NOW - 20)}
    assert plan.again_after == 100
    late = decide(stored({"disruptedPods": {"p0": instants.text(NOW - 121)}}, minAvailable=2), healthy(3))
    assert numbers(status_of(late)) == (3, 3, 2, 1)
    assert "disruptedPods" not in status_of(late)
    assert [action.reason for action in late.actions if isinstance(action, Note)] == ["NotDeleted"]


def test_a_scale_that_is_not_known_allows_nothing() -> None:
    status = status_of(decide(stored(maxUnavailable=1), healthy(3), Expected(failure="no idea")))
    assert status["disruptionsAllowed"] == 0
    assert status["conditions"][0]["reason"] == "SyncFailed"
    assert numbers(status_of(decide(stored(minAvailable=1), healthy(3), Expected(failure="no idea"))))[3] == 2


async def test_a_budget_follows_its_deployment() -> None:
    world = World()
    found = world.put(deployment(replicas=3))
    world.put(budget(maxUnavailable=1))

    def current() -> tuple[int, int, int, int]:
        return numbers(world.every("policy", "poddisruptionbudgets")[0]["status"])

    async with controllers(world):
        await run_all(world)
        assert current() == (3, 3, 2, 1)
        world.edit(found, lambda new: new["spec"].update(replicas=5))
        await settled(world)
        assert current() == (5, 3, 4, 0)
        await run_all(world)
        assert current() == (5, 5, 4, 1)
        world.remove(world.every("", "pods")[0])
        await settled(world)
        assert current() == (5, 4, 4, 0)


async def test_pods_without_a_scale_are_no_base_for_a_share() -> None:
    world = World()
    world.put(job())
    world.put(budget(minAvailable="50%"))
    world.put(budget("loose", maxUnavailable=1, selector={"matchLabels": {"app": "loose"}}))
    world.put(pod("loose", labels={"app": "loose"}))
    async with controllers(world):
        await settled(world)
    loose, shared = world.every("policy", "poddisruptionbudgets")
    assert "jobs.batch does not implement the scale subresource" in shared["status"]["conditions"][0]["message"]
    assert numbers(loose["status"]) == (0, 0, 0, 0)
    assert {"UnmanagedPods", "CalculateExpectedPodCountFailed"} <= {event["reason"] for event in world.events}


async def test_an_empty_selector_selects_the_whole_namespace_and_a_missing_one_nothing() -> None:
    world = World()
    world.put(replicaset(replicas=2))
    world.put(budget("all", minAvailable=1, selector={}))
    world.put(budget("none", minAvailable=1, selector=None))
    async with controllers(world):
        await run_all(world)
    every, none = world.every("policy", "poddisruptionbudgets")
    assert every["status"]["expectedPods"] == len([one for one in world.every("", "pods") if meta.pod_ready(one)]) == 2
    assert none["status"]["expectedPods"] == 0
