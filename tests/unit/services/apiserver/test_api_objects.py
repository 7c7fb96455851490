"""What clients may rely on when they create, read, change and delete objects."""

import asyncio

import pytest

from shared.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from shared.events.subjects import Ref
from tests.unit.services.apiserver.memory_api import ADMIN, MemoryApi

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: object) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "app", "image": "app:1"}], **spec}}


def deployment(name: str) -> dict[str, object]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


async def test_a_created_object_gets_identity_and_is_found(api: MemoryApi) -> None:
    made = await api.create(CONFIGMAPS, config_map("one", a="1"))
    assert made["metadata"]["uid"]
    assert made["metadata"]["resourceVersion"]
    assert await api.get(f"{CONFIGMAPS}/one") == made


async def test_a_name_is_taken_once(api: MemoryApi) -> None:
    await api.create(CONFIGMAPS, config_map("one"))
    with pytest.raises(AlreadyExists, match='configmaps "one" already exists'):
        await api.create(CONFIGMAPS, config_map("one"))


async def test_a_name_can_be_used_again_after_its_object_was_deleted(api: MemoryApi) -> None:
    first = await api.create(CONFIGMAPS, config_map("one"))
    await api.delete(f"{CONFIGMAPS}/one")
    second = await api.create(CONFIGMAPS, config_map("one"))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_an_update_from_an_old_version_is_a_conflict(api: MemoryApi) -> None:
    old = await api.create(CONFIGMAPS, config_map("one", a="1"))
    await api.update(f"{CONFIGMAPS}/one", config_map("one", a="2"))
    with pytest.raises(Conflict):
        await api.update(f"{CONFIGMAPS}/one", old | {"data": {"a": "3"}})


async def test_of_two_updates_from_one_version_exactly_one_wins(api: MemoryApi) -> None:
    old = await api.create(CONFIGMAPS, config_map("one"))
    bodies = [old | {"data": {"writer": str(number)}} for number in range(8)]
    codes = await asyncio.gather(*(api.code("PUT", f"{CONFIGMAPS}/one", body) for body in bodies))
    assert sorted(codes) == [200] + [409] * 7


async def test_patches_without_version_never_lose_each_other(api: MemoryApi) -> None:
    await api.create(CONFIGMAPS, config_map("one"))
    await asyncio.gather(*(api.patch(f"{CONFIGMAPS}/one", {"data": {f"k{n}": "v"}}) for n in range(12)))
    assert len((await api.get(f"{CONFIGMAPS}/one"))["data"]) == 12


async def test_a_write_that_changes_nothing_keeps_the_version(api: MemoryApi) -> None:
    made = await api.create(CONFIGMAPS, config_map("one", a="1"))
    same = await api.patch(f"{CONFIGMAPS}/one", {"data": {"a": "1"}, "metadata": {"labels": {}}})
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_dry_run_answers_the_object_and_stores_nothing(api: MemoryApi) -> None:
    shown = await api.create(f"{CONFIGMAPS}?dryRun=All", config_map("ghost", a="1"))
    assert shown["metadata"]["uid"]
    assert "resourceVersion" not in shown["metadata"]
    with pytest.raises(NotFound):
        await api.get(f"{CONFIGMAPS}/ghost")


async def test_generated_names_begin_with_their_prefix(api: MemoryApi) -> None:
    made = await api.create(CONFIGMAPS, {"metadata": {"generateName": "gen-"}})
    assert made["metadata"]["name"].startswith("gen-")
    assert len(made["metadata"]["name"]) == len("gen-") + 5


async def test_status_and_spec_are_isolated_from_each_other(api: MemoryApi) -> None:
    made = await api.create(DEPLOYMENTS, deployment("web") | {"status": {"replicas": 9}})
    assert made["status"] == {}
    url = f"{DEPLOYMENTS}/web"
    changed = await api.patch(f"{url}/status", {"status": {"replicas": 2}, "spec": {"replicas": 7}})
    assert (changed["status"]["replicas"], changed["spec"]["replicas"]) == (2, 1)
    changed = await api.patch(url, {"status": {"replicas": 5}, "spec": {"replicas": 3}})
    assert (changed["status"]["replicas"], changed["spec"]["replicas"]) == (2, 3)


async def test_the_generation_counts_changes_of_the_spec_alone(api: MemoryApi) -> None:
    url = f"{DEPLOYMENTS}/web"
    assert (await api.create(DEPLOYMENTS, deployment("web")))["metadata"]["generation"] == 1
    assert (await api.patch(url, {"metadata": {"labels": {"a": "b"}}}))["metadata"]["generation"] == 1
    assert (await api.patch(f"{url}/status", {"status": {"replicas": 1}}))["metadata"]["generation"] == 1
    assert (await api.patch(url, {"spec": {"replicas": 4}}))["metadata"]["generation"] == 2


async def test_the_scale_of_a_deployment_is_its_replicas(api: MemoryApi) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    scale = await api.get(f"{DEPLOYMENTS}/web/scale")
    assert scale["status"]["selector"] == "app=web"
    await api.update(f"{DEPLOYMENTS}/web/scale", scale | {"spec": {"replicas": 5}})
    assert (await api.get(f"{DEPLOYMENTS}/web"))["spec"]["replicas"] == 5


async def test_an_invalid_object_is_refused_with_every_cause(api: MemoryApi) -> None:
    failure = await api.failure("POST", PODS, {"metadata": {"name": "Bad_Name"}, "spec": {"containers": []}})
    assert isinstance(failure, Invalid)
    assert {cause["field"] for cause in failure.causes} == {"metadata.name", "spec.containers"}


async def test_unknown_fields_are_warned_about_or_refused(api: MemoryApi) -> None:
    body = config_map("one") | {"bogus": 1}
    await api.create(CONFIGMAPS, body)
    assert api.warnings == ['unknown field "bogus"']
    failure = await api.failure("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert failure.code == 400
    assert 'strict decoding error: unknown field "bogus"' in failure.message


async def test_finalizers_hold_a_deleted_object_until_the_last_is_gone(api: MemoryApi) -> None:
    body = config_map("held") | {"metadata": {"name": "held", "finalizers": ["a.example/x"]}}
    await api.create(CONFIGMAPS, body)
    held = await api.delete(f"{CONFIGMAPS}/held")
    assert held["metadata"]["deletionTimestamp"]
    await api.patch(f"{CONFIGMAPS}/held", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await api.get(f"{CONFIGMAPS}/held")


async def test_foreground_deletion_waits_for_the_garbage_collector(api: MemoryApi) -> None:
    await api.create(CONFIGMAPS, config_map("owner"))
    held = await api.delete(f"{CONFIGMAPS}/owner", {"propagationPolicy": "Foreground"})
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_preconditions_protect_an_object_that_was_replaced(api: MemoryApi) -> None:
    await api.create(CONFIGMAPS, config_map("one"))
    with pytest.raises(Conflict, match="UID in the precondition"):
        await api.delete(f"{CONFIGMAPS}/one", {"preconditions": {"uid": "another"}})


async def test_a_pod_on_a_node_stays_until_the_node_confirms(api: MemoryApi) -> None:
    await api.create(PODS, pod("p", nodeName="node-1", terminationGracePeriodSeconds=17))
    leaving = await api.delete(f"{PODS}/p")
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 17
    assert (await api.get(f"{PODS}/p"))["metadata"]["deletionTimestamp"]
    await api.delete(f"{PODS}/p?gracePeriodSeconds=0")
    with pytest.raises(NotFound):
        await api.get(f"{PODS}/p")


async def test_a_pod_without_node_goes_at_once(api: MemoryApi) -> None:
    await api.create(PODS, pod("p"))
    await api.delete(f"{PODS}/p")
    with pytest.raises(NotFound):
        await api.get(f"{PODS}/p")


async def test_a_pod_is_bound_once(api: MemoryApi) -> None:
    await api.create(PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node-1"}}
    await api.create(f"{PODS}/p/binding", binding)
    assert (await api.get(f"{PODS}/p"))["spec"]["nodeName"] == "node-1"
    with pytest.raises(Conflict, match="already assigned"):
        await api.create(f"{PODS}/p/binding", binding)


async def test_an_evicted_pod_says_why_it_goes(api: MemoryApi) -> None:
    await api.create(PODS, pod("p", nodeName="node-1"))
    await api.create(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
    leaving = await api.get(f"{PODS}/p")
    assert leaving["metadata"]["deletionTimestamp"]
    assert [one["type"] for one in leaving["status"]["conditions"]] == ["DisruptionTarget"]


async def test_a_pod_gets_account_token_volume_and_tolerations(api: MemoryApi) -> None:
    spec = (await api.create(PODS, pod("p")))["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["volumes"][0]["name"].startswith("kube-api-access-")
    assert spec["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert {one["key"]: one["tolerationSeconds"] for one in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready": 30,
        "node.kubernetes.io/unreachable": 30,
    }


async def test_a_pod_of_a_missing_account_is_refused(api: MemoryApi) -> None:
    with pytest.raises(Forbidden, match='serviceaccount "none" not found'):
        await api.create(PODS, pod("p", serviceAccountName="none"))


async def test_a_namespace_is_born_with_account_and_certificate(api: MemoryApi) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "fresh"}})
    await api.get("/api/v1/namespaces/fresh/serviceaccounts/default")
    root = await api.get("/api/v1/namespaces/fresh/configmaps/kube-root-ca.crt")
    assert root["data"]["ca.crt"] == "a certificate"


async def test_nothing_is_created_in_a_namespace_that_is_missing_or_going(api: MemoryApi) -> None:
    missing = await api.failure("POST", "/api/v1/namespaces/none/configmaps", config_map("x"))
    assert (missing.code, missing.message) == (404, 'namespaces "none" not found')
    await api.create("/api/v1/namespaces", {"metadata": {"name": "going"}})
    assert (await api.delete("/api/v1/namespaces/going"))["status"]["phase"] == "Terminating"
    going = await api.failure("POST", "/api/v1/namespaces/going/configmaps", config_map("x"))
    assert going.code == 403
    assert going.details is not None
    assert going.details["causes"][0]["reason"] == "NamespaceTerminating"


async def test_a_namespace_goes_when_its_last_finalizer_is_taken_off(api: MemoryApi) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "going"}})
    going = await api.delete("/api/v1/namespaces/going")
    await api.update("/api/v1/namespaces/going/finalize", going | {"spec": {}})
    with pytest.raises(NotFound):
        await api.get("/api/v1/namespaces/going")


async def test_the_default_namespace_stays(api: MemoryApi) -> None:
    assert await api.code("DELETE", "/api/v1/namespaces/default") == 403


async def test_both_event_apis_show_the_same_event(api: MemoryApi) -> None:
    event = {
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started",
        "message": "it runs",
        "type": "Normal",
    }
    await api.create("/api/v1/namespaces/default/events", event)
    shown = await api.get("/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert shown["apiVersion"] == "events.k8s.io/v1"
    assert (shown["note"], shown["regarding"]["name"]) == ("it runs", "p")
    listed = await api.get("/apis/events.k8s.io/v1/namespaces/default/events")
    assert [one["note"] for one in listed["items"]] == ["it runs"]


async def test_a_put_creates_a_lease_but_no_config_map(api: MemoryApi) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    await api.update("/apis/coordination.k8s.io/v1/namespaces/default/leases/l", lease)
    assert await api.code("PUT", f"{CONFIGMAPS}/none", config_map("none")) == 404


async def test_string_data_of_a_secret_is_stored_encoded(api: MemoryApi) -> None:
    url = "/api/v1/namespaces/default/secrets"
    made = await api.create(url, {"metadata": {"name": "s"}, "stringData": {"user": "ada"}})
    assert made["data"] == {"user": "YWRh"}
    assert "stringData" not in made


async def test_writing_while_the_broker_is_away_answers_unavailable(api: MemoryApi) -> None:
    api.broker.stop()
    assert await api.code("POST", CONFIGMAPS, config_map("x")) == 503
    api.broker.start()


async def test_a_name_can_be_used_again_when_its_tombstone_was_forgotten(api: MemoryApi) -> None:
    services = "/api/v1/namespaces/default/services"
    service = {"metadata": {"name": "again"}, "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}}
    cache = api.parts.store.state.cache
    await api.create(services, service)
    await api.delete(f"{services}/again")
    # the service and its address are written together
    cache.recall(Ref("", "services", "default", "again"), 0)
    cache.recall(Ref("", "_allocations", "", "ip.10.96.0.77"), 0)
    assert (await api.create(services, service))["spec"]["clusterIP"] == "10.96.0.77"


async def test_a_name_can_be_used_again_when_its_tombstone_is_gone_from_the_log(api: MemoryApi) -> None:
    cache = api.parts.store.state.cache
    cache.recall(Ref("", "configmaps", "default", "never"), 5)
    assert (await api.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "never"}}))["kind"]


async def test_every_revision_says_who_made_it_and_how(api: MemoryApi) -> None:
    url = "/api/v1/namespaces/default/configmaps"
    await api.create(url, {"metadata": {"name": "a"}}, user=ADMIN, headers={"user-agent": "kubectl/v1.35.0 (linux)"})
    await api.patch(f"{url}/a?fieldManager=ops", {"data": {"x": "1"}})
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"y": "1"}}
    await api.patch(f"{url}/a?fieldManager=helm", document, "apply")
    await api.delete(f"{url}/a")
    store = api.parts.store
    assert store.state.history is not None
    found = await store.state.history.revisions(Ref("", "configmaps", "default", "a"))
    assert [(one.cause, one.author.user, one.author.manager) for one in found] == [
        ("create", "admin", "kubectl"),
        ("patch", "admin", "ops"),
        ("apply", "admin", "helm"),
        ("delete", "admin", "unknown"),
    ]
    assert found[0].author.agent == "kubectl/v1.35.0 (linux)"


async def test_the_table_of_a_scale_tells_wanted_and_present_pods(api: MemoryApi) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    table = await api.get(
        f"{DEPLOYMENTS}/web/scale", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    )
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["web", 1, 0]


async def test_the_system_s_priority_classes_are_there_and_stay(api: MemoryApi) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    values = {one["metadata"]["name"]: one["value"] for one in (await api.get(classes))["items"]}
    assert values == {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
    with pytest.raises(Forbidden, match="this is a system priority class and cannot be deleted"):
        await api.delete(f"{classes}/system-node-critical")


async def test_a_job_keeps_its_pods_unless_its_deletion_says_otherwise(api: MemoryApi) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app:1"}]}}
    for name in ("kept", "gone"):
        await api.create(jobs, {"metadata": {"name": name}, "spec": {"template": template}})
    await api.delete(f"{jobs}/gone?propagationPolicy=Background")
    assert api.warnings == []
    assert (await api.failure("GET", f"{jobs}/gone")).code == 404
    left = await api.delete(f"{jobs}/kept")
    assert [one.partition(";")[0] for one in api.warnings] == [
        "child pods are preserved by default when jobs are deleted"
    ]
    assert left["metadata"]["finalizers"] == ["orphan"]
