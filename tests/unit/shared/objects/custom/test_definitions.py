"""Definitions that Kubernetes would refuse are refused, with the reason and the place."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects import meta
from shared.objects.custom import definitions, naming, structural, structure

NOW = "2026-11-24T08:00:00Z"
ROOT = "s"


def definition(**spec: Any) -> dict[str, Any]:
    made = {
        "group": "river.example",
        "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
        "versions": [version()],
        "conversion": {"strategy": "None"},
        **spec,
    }
    return {"metadata": {"name": f"{made['names']['plural']}.{made['group']}"}, "spec": made}


def version(**more: Any) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {"name": "v1", "served": True, "storage": True, "schema": schema, **more}


def complaints(given: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.reason.removeprefix("FieldValue"), one.field) for one in definitions.create(given)]


def test_a_good_definition_is_taken() -> None:
    assert complaints(definition()) == []


NAMES = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"group": "river"}, ("Invalid", "spec.group")),
        ({"group": "River.example"}, ("Invalid", "spec.group")),
        ({"scope": "Everywhere"}, ("NotSupported", "spec.scope")),
        ({"scope": ""}, ("Required", "spec.scope")),
        ({"names": {**NAMES, "singular": "The Boat"}}, ("Invalid", "spec.names.singular")),
        ({"names": {**NAMES, "kind": "My Boat"}}, ("Invalid", "spec.names.kind")),
        ({"names": {**NAMES, "listKind": "Boat"}}, ("Invalid", "spec.names.listKind")),
        ({"names": {**NAMES, "shortNames": ["B"]}}, ("Invalid", "spec.names.shortNames[0]")),
        ({"versions": []}, ("Required", "spec.versions")),
        ({"versions": [version(), version(storage=False)]}, ("Invalid", "spec.versions")),
        ({"versions": [version(storage=False)]}, ("Invalid", "spec.versions")),
        ({"versions": [version(name="V1")]}, ("Invalid", "spec.versions[0].name")),
        ({"versions": [version(schema={})]}, ("Required", "spec.validation.openAPIV3Schema")),
        ({"versions": [version(deprecationWarning="x")]}, ("Invalid", "spec.versions[0].deprecationWarning")),
        ({"preserveUnknownFields": True}, ("Invalid", "spec.preserveUnknownFields")),
        ({"conversion": {"strategy": "Magic"}}, ("NotSupported", "spec.conversion.strategy")),
        ({"conversion": {"strategy": "Webhook"}}, ("Required", "spec.conversion.webhook.clientConfig")),
        ({"conversion": {"strategy": "None", "webhook": {"x": 1}}}, ("Forbidden", "spec.conversion.webhook")),
        (
            {"versions": [version(additionalPrinterColumns=[{"name": "a", "type": "string"}])]},
            ("Required", "spec.additionalPrinterColumns[0].jsonPath"),
        ),
        (
            {"versions": [version(additionalPrinterColumns=[{"name": "a", "type": "text", "jsonPath": ".a"}])]},
            ("Invalid", "spec.additionalPrinterColumns[0].type"),
        ),
        (
            {"versions": [version(additionalPrinterColumns=[{"name": "a", "type": "string", "jsonPath": ".a[?(]"}])]},
            ("Invalid", "spec.additionalPrinterColumns[0].jsonPath"),
        ),
        (
            {
                "versions": [
                    version(subresources={"scale": {"specReplicasPath": ".n", "statusReplicasPath": ".status.n"}})
                ]
            },
            ("Invalid", "spec.subresources.scale.specReplicasPath"),
        ),
        (
            {"versions": [version(selectableFields=[{"jsonPath": ".spec.x"}])]},
            ("Invalid", "spec.selectableFields[0].jsonPath"),
        ),
    ],
)
def test_what_is_wrong_is_named(spec: dict[str, Any], wanted: tuple[str, str]) -> None:
    assert wanted in complaints(definition(**spec))


def test_the_name_is_made_of_plural_and_group() -> None:
    wrong = definition()
    wrong["metadata"]["name"] = "boats"
    assert complaints(wrong) == [("Invalid", "metadata.name")]


def test_groups_of_kubernetes_need_an_approval() -> None:
    given = definition(group="boats.k8s.io")
    assert complaints(given) == [("Required", "metadata.annotations[api-approved.kubernetes.io]")]
    given["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://github.com/x/pull/1"}
    assert complaints(given) == []


def test_what_the_server_has_itself_cannot_be_defined() -> None:
    names = {"plural": "ingresses", "singular": "ingress", "kind": "Ingress", "listKind": "IngressList"}
    given = definition(group="networking.k8s.io", names=names)
    given["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    assert complaints(given) == [("Forbidden", "spec.names.plural")]


def test_what_versions_say_differently_is_named_by_version() -> None:
    broken = {"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}
    found = complaints(definition(versions=[version(), version(name="v2", storage=False, schema=broken)]))
    assert found == [("Required", "spec.versions[1].schema.openAPIV3Schema.properties[a].type")]


OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({}, ("Required", "s.type")),
        ({"type": "string"}, ("Invalid", "s.type")),
        ({**OBJECT, "properties": {"a": {}}}, ("Required", "s.properties[a].type")),
        ({**OBJECT, "properties": {"a": {"type": "text"}}}, ("NotSupported", "s.properties[a].type")),
        ({**OBJECT, "properties": {"a": {"type": "array"}}}, ("Required", "s.properties[a].items")),
        (
            {**OBJECT, "properties": {"a": {"type": "array", "items": [OBJECT], "x-kubernetes-list-type": "map"}}},
            ("Forbidden", "s.properties[a].items"),
        ),
        ({**OBJECT, "additionalProperties": False}, ("Forbidden", "s.additionalProperties")),
        (
            {**OBJECT, "properties": {"a": OBJECT}, "additionalProperties": OBJECT},
            ("Forbidden", "s.additionalProperties"),
        ),
        ({**OBJECT, "properties": {"a": {"$ref": "#/x"}}}, ("Forbidden", "s.properties[a].$ref")),
        ({**OBJECT, "properties": {"a": {"type": "string", "pattern": "["}}}, ("Invalid", "s.properties[a].pattern")),
        (
            {**OBJECT, "properties": {"a": {"type": "array", "items": OBJECT, "uniqueItems": True}}},
            ("Forbidden", "s.properties[a].uniqueItems"),
        ),
        ({**OBJECT, "anyOf": [{"type": "object"}]}, ("Forbidden", "s.anyOf[0].type")),
        ({**OBJECT, "allOf": [{"properties": {"a": {"minimum": 1}}}]}, ("Required", "s.properties[a]")),
        ({**OBJECT, "not": {"x-kubernetes-int-or-string": True}}, ("Forbidden", "s.not.x-kubernetes-int-or-string")),
        (
            {**OBJECT, "properties": {"metadata": {"type": "object", "properties": {"labels": OBJECT}}}},
            ("Forbidden", "s.properties[metadata]"),
        ),
        (
            {**OBJECT, "properties": {"a": {"type": "string", "x-kubernetes-int-or-string": True}}},
            ("Forbidden", "s.properties[a].type"),
        ),
        (
            {**OBJECT, "properties": {"a": {**OBJECT, "x-kubernetes-preserve-unknown-fields": False}}},
            ("Invalid", "s.properties[a].x-kubernetes-preserve-unknown-fields"),
        ),
        (
            {**OBJECT, "properties": {"a": {**OBJECT, "x-kubernetes-embedded-resource": True}}},
            ("Required", "s.properties[a].properties"),
        ),
        (
            {**OBJECT, "properties": {"a": {"type": "array", "items": OBJECT, "x-kubernetes-list-type": "map"}}},
            ("Required", "s.properties[a].x-kubernetes-list-map-keys"),
        ),
        (
            {**OBJECT, "properties": {"a": {"type": "array", "items": OBJECT, "x-kubernetes-list-type": "set"}}},
            ("Invalid", "s.properties[a].items.x-kubernetes-map-type"),
        ),
        (
            {**OBJECT, "properties": {"a": {"type": "string", "x-kubernetes-map-type": "atomic"}}},
            ("Invalid", "s.properties[a].type"),
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused(schema: dict[str, Any], wanted: tuple[str, str]) -> None:
    found = [(one.reason.removeprefix("FieldValue"), one.field) for one in structure.validate(schema, ROOT)]
    assert wanted in found


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "integer", "default": "x"}, ("TypeInvalid", "s.properties[a].default")),
        ({**OBJECT, "properties": {}, "default": {"x": 1}}, ("Invalid", "s.properties[a].default")),
    ],
)
def test_a_default_must_fit_its_schema(schema: dict[str, Any], wanted: tuple[str, str]) -> None:
    node = structural.compile({**OBJECT, "properties": {"a": schema}})
    found = [(one.reason.removeprefix("FieldValue"), one.field) for one in structure.defaults(node, ROOT)]
    assert found == [wanted]


def test_keys_of_map_lists_are_required_or_have_a_default() -> None:
    items = {"type": "object", "properties": {"k": {"type": "string"}, "o": OBJECT}}
    rows = {"type": "array", "items": items, "x-kubernetes-list-type": "map"}

    def found(keys: list[str], **more: Any) -> list[str]:
        schema = {**OBJECT, "properties": {"a": {**rows, "items": items | more, "x-kubernetes-list-map-keys": keys}}}
        return [one.field for one in structure.validate(schema, ROOT)]

    assert found(["k"]) == ["s.properties[a].items.properties[k].default"]
    assert found(["k"], required=["k"]) == []
    assert found(["x"]) == ["s.properties[a].x-kubernetes-list-map-keys[0]"]
    assert "s.properties[a].items.properties[o].type" in found(["o"], required=["o"])


def test_an_int_or_string_may_say_so_with_junctions() -> None:
    port = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert structure.validate({**OBJECT, "properties": {"port": port}}, ROOT) == []


def named(name: str, accepted: dict[str, Any] | None = None, **names: Any) -> dict[str, Any]:
    made = definition(
        names={"plural": name, "singular": name[:-1], "kind": name[:-1], "listKind": f"{name}-list", **names}
    )
    return made | {"status": {"acceptedNames": accepted or {}}}


def test_a_single_definition_gets_all_its_names() -> None:
    found = naming.decide(named("boats", shortNames=["b"], categories=["all"]), [], NOW)
    assert found.accepted == {
        "plural": "boats",
        "singular": "boat",
        "kind": "boat",
        "listKind": "boats-list",
        "shortNames": ["b"],
        "categories": ["all"],
    }
    assert [(one["type"], one["status"]) for one in found.conditions] == [
        ("NamesAccepted", "True"),
        ("Established", "True"),
    ]


def test_names_that_others_have_are_not_given() -> None:
    other = named("ships", {"plural": "ships", "kind": "Ship", "shortNames": ["b"]})
    found = naming.decide(named("boats", shortNames=["b"]), [other], NOW)
    assert "shortNames" not in found.accepted
    conditions = {one["type"]: one for one in found.conditions}
    assert (conditions["NamesAccepted"]["reason"], conditions["NamesAccepted"]["message"]) == (
        "ShortNamesConflict",
        '"b" is already in use',
    )
    elsewhere = named("ships", {"plural": "boats", "kind": "boat"})
    elsewhere["spec"]["group"] = "sea.example"
    assert naming.decide(named("boats"), [elsewhere], NOW).conditions[0]["status"] == "True"


def test_an_established_definition_stays_so_when_its_new_names_are_taken() -> None:
    other = named("ships", {"plural": "ships", "kind": "Ship"})
    mine = named("boats", {"plural": "boats", "kind": "boat"}, kind="Ship")
    meta.set_condition(mine["status"].setdefault("conditions", []), "Established", "True", now=NOW)
    found = naming.decide(mine, [other], NOW)
    assert found.accepted["kind"] == "boat"
    assert {one["type"]: one["status"] for one in found.conditions} == {"Established": "True", "NamesAccepted": "False"}


def test_what_is_fixed_once_it_is_established() -> None:
    old = definition()
    old["status"] = {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]}
    new = {**definition(scope="Cluster"), "status": old["status"]}
    assert [one.field for one in definitions.update(new, old)] == ["spec.scope"]
    gone = {**definition(versions=[version(name="v2")]), "status": old["status"] | {"storedVersions": ["v1", "v2"]}}
    assert [one.field for one in definitions.update(gone, old)] == ["status.storedVersions[0]"]
