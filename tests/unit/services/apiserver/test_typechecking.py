"""ValidatingAdmissionPolicies are told what their expressions get wrong about the kinds they match."""

import asyncio
from typing import Any

from services.apiserver.bootstrap import own_request
from services.apiserver.typechecking import TypeChecking, matched_kinds, shown, warnings
from tests.unit.services.apiserver.memory_api import MemoryApi

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


def rule(*resources: str, group: str = "apps", version: str = "v1") -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE"], "resources": list(resources)}


def spec(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"matchConstraints": {"resourceRules": list(rules)}, **fields}


def test_the_kinds_are_those_that_rules_name_without_wildcards() -> None:
    matched = spec(rule("deployments", "replicasets"), rule("pods", group=""), rule("*"), rule("pods/status", group=""))
    assert [shown(one) for one in matched_kinds(matched)] == [
        "/v1, Kind=Pod",
        "apps/v1, Kind=Deployment",
        "apps/v1, Kind=ReplicaSet",
    ]


def test_a_wrong_field_is_told_for_each_kind_that_lacks_it() -> None:
    validations = [
        {"expression": "object.spec.replicas > 1"},
        {"expression": "object.spec.replicas < 9", "messageExpression": "'has ' + string(object.spec.replica)"},
    ]
    found = list(warnings({"spec": spec(rule("deployments", "daemonsets"), validations=validations)}))
    assert [one["fieldRef"] for one in found] == [
        "spec.validations[0].expression",
        "spec.validations[1].expression",
        "spec.validations[1].messageExpression",
    ]
    assert found[0]["warning"] == (
        "apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'\n"
        " | object.spec.replicas > 1\n"
        " | ...........^"
    )
    assert found[2]["warning"].count("undefined field 'replica'") == 2


def test_variables_and_parameters_have_types_too() -> None:
    fields = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "count", "expression": "object.spec.replicas"}],
        "validations": [{"expression": "variables.count == params.datum"}, {"expression": "variables.count == 'a'"}],
    }
    found = list(warnings({"spec": spec(rule("deployments"), **fields)}))
    assert "undefined field 'datum'" in found[0]["warning"]
    assert "found no matching overload" in found[1]["warning"]


async def test_the_status_follows_the_policy(api: MemoryApi) -> None:
    store, writer = api.parts.store, api.parts.pipeline.writer
    task = asyncio.create_task(TypeChecking(store, writer, own_request()).run(), name="type checking")
    try:
        validations = [{"expression": "object.spec.replica > 1"}]
        body = {"metadata": {"name": "p"}, "spec": spec(rule("deployments"), validations=validations)}
        await api.create(POLICIES, body)
        async with api.watch(POLICIES) as events:
            while not (found := (await events.next()).object).get("status"):
                pass
            assert found["status"]["observedGeneration"] == 1
            assert found["status"]["typeChecking"]["expressionWarnings"][0]["fieldRef"].startswith(
                "spec.validations[0]"
            )
            change = [{"op": "replace", "path": "/spec/validations/0/expression", "value": "object.spec.replicas > 1"}]
            await api.patch(f"{POLICIES}/p", change, "json")
            while (found := (await events.next()).object)["status"]["observedGeneration"] < 2:
                pass
            assert found["status"]["typeChecking"] == {}
    finally:
        task.cancel()
        await asyncio.wait([task])
