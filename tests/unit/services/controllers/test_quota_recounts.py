"""ResourceQuotas: what their status says, and what makes it be counted again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.controllers.quota import recount
from services.controllers.quota.reconciler import Quotas
from shared.events.subjects import Ref
from tests.unit.services.controllers.cluster import controllers, settled
from tests.unit.services.controllers.objects import pod, service
from tests.unit.services.controllers.world import World

NOW = datetime(2026, 11, 24, tzinfo=UTC)
Object = dict[str, Any]


def quota(hard: Object, name: str = "q", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hard": hard, **spec},
    }


def busy(name: str, cpu: str, **status: Any) -> Object:
    made = pod(name)
    made["spec"] = {"containers": [{"name": "a", "image": "a", "resources": {"requests": {"cpu": cpu}}}]}
    return {**made, "status": status}


def test_a_status_counts_what_is_there_and_names_every_bound() -> None:
    hard = {"pods": "9", "requests.cpu": "4", "count/deployments.apps": "1", "secrets": "2", "gibberish.": "1"}
    contents = {("", "pods"): [busy("a", "500m"), busy("b", "1"), busy("c", "1", phase="Succeeded")]}
    assert recount.status(quota(hard), contents, NOW) == {
        "hard": hard,
        "used": {"pods": "2", "requests.cpu": "1500m", "count/deployments.apps": "0", "secrets": "0"},
    }


def test_a_scope_counts_only_what_is_in_it() -> None:
    contents = {("", "pods"): [busy("a", "500m"), busy("b", "0")]}
    counted = recount.status(quota({"pods": "9"}, scopes=["BestEffort"]), contents, NOW)
    assert counted["used"] == {"pods": "1"}


def test_amounts_that_are_written_differently_are_the_same() -> None:
    assert recount.same({"hard": {"memory": "1Gi"}, "used": {}}, {"hard": {"memory": "1024Mi"}})
    assert not recount.same({"hard": {"pods": "1"}, "used": {"pods": "0"}}, {"hard": {"pods": "1"}})


def test_what_is_created_was_counted_already_and_what_goes_is_counted_again() -> None:
    world = World()
    world.put(quota({"pods": "9"}))
    ref = Ref("", "pods", "shop", "a")
    running, over = busy("a", "1", phase="Running"), busy("a", "1", phase="Failed")
    affected = Quotas().affected
    assert list(affected(ref, running, None, world.view)) == []
    assert list(affected(ref, {**running, "other": 1}, running, world.view)) == []
    assert list(affected(ref, over, running, world.view)) == [("shop", "q")]
    assert list(affected(ref, None, running, world.view)) == [("shop", "q")]
    assert list(affected(Ref("", "events", "shop", "e"), None, {}, world.view)) == []


async def test_a_quota_follows_its_namespace() -> None:
    world = World()
    doomed = world.put(busy("a", "1"))
    world.put(busy("b", "500m"))
    world.put(service("web"))
    async with controllers(world):
        world.put(quota({"requests.cpu": "4", "services": "3"}))
        await settled(world)
        assert used(world) == {"requests.cpu": "1500m", "services": "1"}
        world.remove(doomed, gracePeriodSeconds=0)
        await settled(world)
        assert used(world) == {"requests.cpu": "500m", "services": "1"}
        world.edit(quota_of(world), lambda one: one["spec"].update(hard={"pods": "2"}))
        await settled(world)
        assert quota_of(world)["status"] == {"hard": {"pods": "2"}, "used": {"pods": "1"}}


def quota_of(world: World) -> Object:
    found = world.get("", "resourcequotas", "shop", "q")
    assert found is not None
    return found


def used(world: World) -> Object:
    counted: Object = quota_of(world)["status"]["used"]
    return counted
