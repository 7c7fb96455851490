"""Quotas as clients meet them: refusals in Kubernetes' words, exact charges, races."""

import asyncio

import pytest

from tests.unit.services.apiserver.admission.objects import Object, config_map, pod, quota
from tests.unit.services.apiserver.memory_api import MemoryApi

QUOTAS = "/api/v1/namespaces/default/resourcequotas"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"


async def bound(api: MemoryApi, hard: Object, used: Object | None = None, **spec: object) -> None:
    """A quota whose status a controller has set."""
    stored = await api.create(QUOTAS, quota(hard, **spec))
    stored["status"] = {"hard": hard, "used": used or dict.fromkeys(hard, "0")}
    await api.update(f"{QUOTAS}/q/status", stored)


async def used(api: MemoryApi) -> Object:
    found: Object = (await api.get(f"{QUOTAS}/q"))["status"]["used"]
    return found


async def test_what_exceeds_a_quota_is_refused_and_changes_nothing(api: MemoryApi) -> None:
    await bound(api, {"count/configmaps": "1"})
    await api.create(MAPS, config_map("a"))
    failure = await api.failure("POST", MAPS, config_map("b"))
    assert failure.code == 403
    assert failure.message == (
        'configmaps "b" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, '
        "limited: count/configmaps=1"
    )
    assert await used(api) == {"count/configmaps": "1"}


async def test_a_quota_without_status_lets_nothing_pass(api: MemoryApi) -> None:
    stored = await api.create(QUOTAS, quota({"pods": "1"}))
    await api.update(f"{QUOTAS}/q/status", stored | {"status": {"hard": {"pods": "1"}}})
    failure = await api.failure("POST", PODS, pod())
    assert failure.message == 'pods "p" is forbidden: status unknown for quota: q, resources: pods'


async def test_pods_must_say_what_a_compute_quota_bounds(api: MemoryApi) -> None:
    await bound(api, {"limits.memory": "1Gi", "requests.cpu": "1"})
    failure = await api.failure("POST", PODS, pod())
    assert failure.message == (
        'pods "p" is forbidden: failed quota: q: must specify limits.memory for: app; requests.cpu for: app'
    )


async def test_every_exceeded_name_is_told_with_its_numbers(api: MemoryApi) -> None:
    await bound(
        api,
        {"requests.cpu": "1", "pods": "5", "limits.cpu": "2"},
        {"requests.cpu": "500m", "pods": "1", "limits.cpu": "1"},
    )
    failure = await api.failure("POST", PODS, pod(requests={"cpu": "700m"}, limits={"cpu": "1500m"}))
    assert failure.message.endswith(
        "exceeded quota: q, requested: limits.cpu=1500m,requests.cpu=700m, used: limits.cpu=1,requests.cpu=500m, "
        "limited: limits.cpu=2,requests.cpu=1"
    )


async def test_a_dry_run_is_judged_but_not_charged(api: MemoryApi) -> None:
    await bound(api, {"configmaps": "1"})
    await api.create(f"{MAPS}?dryRun=All", config_map())
    assert await used(api) == {"configmaps": "0"}
    await api.create(MAPS, config_map())
    assert (await api.failure("POST", f"{MAPS}?dryRun=All", config_map("d"))).code == 403


async def test_an_update_is_charged_for_what_it_adds(api: MemoryApi) -> None:
    await bound(api, {"services.nodeports": "1"})
    service: Object = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    await api.create(SERVICES, service)
    await api.patch(f"{SERVICES}/s", {"spec": {"type": "NodePort"}})
    assert await used(api) == {"services.nodeports": "1"}
    patch = {"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}}
    failure = await api.failure(
        "PATCH", f"{SERVICES}/s", patch, headers={"content-type": "application/merge-patch+json"}
    )
    assert "requested: services.nodeports=1, used: services.nodeports=1" in failure.message


async def test_a_scope_spares_what_is_outside_of_it(api: MemoryApi) -> None:
    await bound(api, {"pods": "0"}, scopes=["BestEffort"])
    assert await api.code("POST", PODS, pod()) == 403
    await api.create(PODS, pod(requests={"cpu": "1"}))


async def test_a_failed_write_is_not_charged(api: MemoryApi) -> None:
    await bound(api, {"configmaps": "5"})
    await api.create(MAPS, config_map())
    assert await api.code("POST", MAPS, config_map()) == 409
    assert await used(api) == {"configmaps": "1"}


async def test_writers_at_the_same_time_never_take_more_than_there_is(api: MemoryApi) -> None:
    await bound(api, {"configmaps": "7"})

    async def create(number: int) -> int:
        return await api.code("POST", MAPS, config_map(f"c{number}"))

    outcomes = await asyncio.gather(*(create(number) for number in range(20)))
    assert sorted(outcomes) == [200] * 7 + [403] * 13
    assert await used(api) == {"configmaps": "7"}
    stored = await api.get(MAPS)
    assert len([one for one in stored["items"] if one["metadata"]["name"].startswith("c")]) == 7


@pytest.mark.parametrize("path", ["/api/v1/namespaces/default/events", "/api/v1/namespaces"])
async def test_events_and_what_has_no_namespace_are_not_counted(api: MemoryApi, path: str) -> None:
    await bound(api, {"count/events": "0"})
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    body: Object = {"metadata": {"name": "e"}}
    if path.endswith("events"):
        body["involvedObject"] = about
    await api.create(path, body)
