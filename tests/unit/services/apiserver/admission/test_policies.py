"""Admission policies in CEL: where they apply, what they refuse, what they change."""

import pytest

from tests.fakes.webhooks import rule
from tests.unit.services.apiserver.admission.objects import Object, config_map, pod
from tests.unit.services.apiserver.memory_api import MemoryApi

GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
EVERYTHING = [rule(operations=["CREATE", "UPDATE", "DELETE"])]


async def validating(api: MemoryApi, *validations: Object, binding: Object | None = None, **spec: object) -> None:
    body = {"matchConstraints": {"resourceRules": EVERYTHING}, "validations": list(validations)} | spec
    await api.create(f"{GROUP}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": body})
    bound = {"policyName": "p", "validationActions": ["Deny"]} | (binding or {})
    await api.create(f"{GROUP}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound})


async def mutating(api: MemoryApi, *mutations: Object, name: str = "p", **spec: object) -> None:
    body = {
        "matchConstraints": {"resourceRules": [rule()]},
        "mutations": list(mutations),
        "reinvocationPolicy": "Never",
    } | spec
    await api.create(f"{GROUP}/mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": body})
    bound = {"policyName": name}
    await api.create(f"{GROUP}/mutatingadmissionpolicybindings", {"metadata": {"name": name}, "spec": bound})


def configured(expression: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def test_a_violation_is_refused_in_the_words_of_its_policy(api: MemoryApi) -> None:
    await validating(
        api,
        {"expression": "size(object.data) < 2", "message": "too many", "reason": "Forbidden"},
        {"expression": "object.metadata.name != 'x'", "messageExpression": "'not ' + object.metadata.name"},
        matchConditions=[{"name": "has-data", "expression": "has(object.data)"}],
    )
    failure = await api.failure("POST", MAPS, config_map() | {"data": {"a": "1", "b": "2"}})
    told = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too many"
    assert (failure.code, failure.reason) == (403, "Forbidden")
    assert failure.message == f'configmaps "c" is forbidden: {told}'
    assert failure.details is not None
    assert failure.details["causes"] == [{"message": told}]
    failure = await api.failure("POST", MAPS, config_map("x") | {"data": {"a": "1"}})
    assert (failure.code, failure.reason) == (422, "Invalid")
    assert failure.message.endswith("denied request: not x")
    await api.create(MAPS, config_map("x"))


async def test_without_a_message_the_expression_is_told(api: MemoryApi) -> None:
    await validating(api, {"expression": " object.metadata.name == 'y' "})
    failure = await api.failure("POST", MAPS, config_map())
    assert failure.message.endswith("denied request: failed expression: object.metadata.name == 'y'")


async def test_a_policy_without_binding_does_nothing(api: MemoryApi) -> None:
    await validating(api, {"expression": "false"}, binding={"policyName": "another"})
    await api.create(MAPS, config_map())


async def test_a_binding_may_only_warn(api: MemoryApi) -> None:
    await validating(api, {"expression": "false", "message": "no"}, binding={"validationActions": ["Warn", "Audit"]})
    await api.create(MAPS, config_map())
    assert api.warnings == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]


async def test_updates_and_deletions_are_judged_with_what_was_there_before(api: MemoryApi) -> None:
    await validating(
        api,
        {"expression": "request.operation != 'DELETE' || !has(oldObject.data)", "message": "kept"},
        {"expression": "oldObject == null || object == null || object.data == oldObject.data", "message": "fixed"},
    )
    await api.create(MAPS, config_map() | {"data": {"a": "1"}})
    headers = {"content-type": "application/merge-patch+json"}
    assert "fixed" in (await api.failure("PATCH", f"{MAPS}/c", {"data": {"a": "2"}}, headers=headers)).message
    assert "kept" in (await api.failure("DELETE", f"{MAPS}/c")).message


async def test_variables_build_on_each_other(api: MemoryApi) -> None:
    await validating(
        api,
        {"expression": "variables.double < 4", "messageExpression": "'double is ' + string(variables.double)"},
        variables=[
            {"name": "count", "expression": "has(object.data) ? size(object.data) : 0"},
            {"name": "double", "expression": "variables.count * 2"},
        ],
    )
    await api.create(MAPS, config_map("one") | {"data": {"a": "1"}})
    failure = await api.failure("POST", MAPS, config_map("two") | {"data": {"a": "1", "b": "2"}})
    assert failure.message.endswith("double is 4")


async def test_namespace_request_and_authorizer_are_known(api: MemoryApi) -> None:
    await validating(
        api,
        {"expression": "namespaceObject.metadata.name == request.namespace"},
        {"expression": "request.userInfo.username == 'admin' && request.kind.kind == 'ConfigMap'"},
        {"expression": "authorizer.group('').resource('secrets').namespace('default').check('list').allowed()"},
        {"expression": "!authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()"},
    )
    await api.create(MAPS, config_map())


async def test_parameters_come_from_objects(api: MemoryApi) -> None:
    reference = {"name": "limits", "namespace": "kube-public", "parameterNotFoundAction": "Deny"}
    await validating(
        api,
        {"expression": "size(object.metadata.name) <= int(params.data.longest)", "message": "too long"},
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        binding={"paramRef": reference, "matchResources": {"namespaceSelector": {"matchLabels": {"bounded": "y"}}}},
    )
    await api.create("/api/v1/namespaces/kube-public/configmaps", config_map("limits") | {"data": {"longest": "3"}})
    await api.create(MAPS, config_map("elsewhere"))
    await api.create("/api/v1/namespaces", {"metadata": {"name": "bounded", "labels": {"bounded": "y"}}})
    maps = "/api/v1/namespaces/bounded/configmaps"
    await api.create(maps, config_map("ab"))
    assert "too long" in (await api.failure("POST", maps, config_map("abcd"))).message
    await api.delete("/api/v1/namespaces/kube-public/configmaps/limits")
    failure = await api.failure("POST", maps, config_map("abc"))
    assert failure.message.endswith(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )


@pytest.mark.parametrize(("policy", "code"), [("Fail", 422), ("Ignore", 200)])
async def test_an_expression_that_fails_counts_as_its_policy_wishes(api: MemoryApi, policy: str, code: int) -> None:
    await validating(api, {"expression": "object.nothing == 1"}, failurePolicy=policy)
    assert await api.code("POST", MAPS, config_map()) == code


async def test_excluded_resources_and_names_are_spared(api: MemoryApi) -> None:
    await validating(
        api,
        {"expression": "false"},
        matchConstraints={
            "resourceRules": EVERYTHING,
            "excludeResourceRules": [rule(operations=["CREATE"], resourceNames=["free"])],
        },
    )
    await api.create(MAPS, config_map("free"))
    assert await api.code("POST", MAPS, config_map("bound")) == 422


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"validations": [{"expression": "objct.x"}]}, "spec.validations[0].expression"),
        ({"validations": [{"expression": "'text'"}]}, "spec.validations[0].expression"),
        ({"validations": [{"expression": "variables.none"}]}, "spec.validations[0].expression"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "spec.validations[0].messageExpression"),
        ({"validations": [{"expression": "params.x"}]}, "spec.validations[0].expression"),
        (
            {"validations": [{"expression": "true"}], "matchConditions": [{"name": "n", "expression": "("}]},
            "spec.matchConditions[0].expression",
        ),
    ],
)
async def test_a_policy_that_does_not_compile_is_refused(api: MemoryApi, spec: Object, field: str) -> None:
    body = {"matchConstraints": {"resourceRules": EVERYTHING}} | spec
    failure = await api.failure(
        "POST", f"{GROUP}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": body}
    )
    assert failure.code == 422
    assert failure.details is not None
    assert [cause["field"] for cause in failure.details["causes"]] == [field]


async def test_an_applied_configuration_is_merged_and_a_patch_applied(api: MemoryApi) -> None:
    await mutating(
        api,
        configured("Object{metadata: Object.metadata{labels: {'team': object.metadata.?labels.?own.orValue('none')}}}"),
        patched("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"),
    )
    made = await api.create(MAPS, config_map(labels={"own": "x"}) | {"data": {"k": "v"}})
    assert made["metadata"]["labels"] == {"own": "x", "team": "x", "a/b": "c"}
    assert made["data"] == {"k": "v"}


async def test_lists_are_merged_by_their_keys(api: MemoryApi) -> None:
    side = "Object.spec.containers{name: 'side', image: 'side:1'}"
    await mutating(
        api,
        configured(f"Object{{spec: Object.spec{{containers: [{side}]}}}}"),
        matchConstraints={"resourceRules": [rule(resources=["pods"])]},
    )
    made = await api.create("/api/v1/namespaces/default/pods", pod())
    assert [one["name"] for one in made["spec"]["containers"]] == ["app", "side"]
    assert made["spec"]["containers"][1]["imagePullPolicy"] == "IfNotPresent"


async def test_an_applied_configuration_may_not_replace_what_has_no_parts(api: MemoryApi) -> None:
    await mutating(
        api,
        configured("Object{spec: Object.spec{tolerations: [Object.spec.tolerations{key: 'a'}]}}"),
        matchConstraints={"resourceRules": [rule(resources=["pods"])]},
    )
    failure = await api.failure("POST", "/api/v1/namespaces/default/pods", pod())
    assert "may not mutate atomic arrays, maps or structs: .spec.tolerations" in failure.message


async def test_a_policy_is_applied_again_if_it_wants_after_others_changed_the_object(api: MemoryApi) -> None:
    count = "Object{data: {'labels': string(size(object.metadata.?labels.orValue({})))}}"
    await mutating(api, configured(count), name="a", reinvocationPolicy="IfNeeded")
    await mutating(api, configured("Object{metadata: Object.metadata{labels: {'added': 'b'}}}"), name="b")
    assert (await api.create(MAPS, config_map()))["data"] == {"labels": "1"}


async def test_a_mutation_that_fails_refuses_the_request(api: MemoryApi) -> None:
    await mutating(api, patched("[JSONPatch{op: 'remove', path: '/metadata/labels/none'}]"))
    failure = await api.failure("POST", MAPS, config_map())
    assert failure.code == 403
    assert "policy 'p' with binding 'p' denied request: JSON Patch:" in failure.message


async def test_policies_never_judge_policies(api: MemoryApi) -> None:
    everything = [rule(apiGroups=["*"], apiVersions=["*"], operations=["*"], resources=["*"])]
    await validating(api, {"expression": "false"}, matchConstraints={"resourceRules": everything})
    assert await api.code("POST", MAPS, config_map()) == 422
    await api.delete(f"{GROUP}/validatingadmissionpolicybindings/b")
    await api.create(MAPS, config_map())
