"""The matching of RBAC rules, what one rule holds of another, and the notation of the default ones."""

from typing import Any

import pytest

from services.apiserver.auth import policy
from services.apiserver.auth.policy import notation
from services.apiserver.auth.rules import Rule, described, missing
from services.apiserver.routes import Attributes


def permits(line: str, asked: Attributes) -> bool:
    return Rule.of(notation.rule(line)).permits(asked)


def on(resource: str, verb: str = "get", group: str = "", name: str = "", **more: Any) -> Attributes:
    plural, _, subresource = resource.partition("/")
    return Attributes(verb, group, "v1", plural, subresource, "ns", name, **more)


@pytest.mark.parametrize(
    ("line", "asked", "expected"),
    [
        ("get core pods", on("pods"), True),
        ("get core pods", on("pods", "list"), False),
        ("get core pods", on("pods", group="apps"), False),
        ("get core pods", on("pods/log"), False),
        ("get core pods/*", on("pods/log"), False),
        ("get core *", on("pods/log"), True),
        ("get * */scale", on("deployments/scale", group="apps"), True),
        ("get * */scale", on("deployments", group="apps"), False),
        ("* core pods = a b", on("pods", name="a"), True),
        ("* core pods = a b", on("pods", name="c"), False),
        ("* core pods = a b", on("pods", "create"), False),
        ("list core pods = a", on("pods", "list", fields={"metadata.name": "a"}), True),
        ("get core pods = a", on("pods", fields={"metadata.name": "a"}), False),
        ("get url /healthz", Attributes("get", path="/healthz"), True),
        ("get url /healthz", Attributes("get", path="/healthz/ping"), False),
        ("get url /apis/*", Attributes("get", path="/apis/apps/v1"), True),
        ("get url /apis/*", Attributes("get", path="/apis"), False),
        ("get url *", Attributes("get", path="/metrics"), True),
        ("* * *", Attributes("get", path="/metrics"), False),
        ("* url *", on("pods"), False),
    ],
)
def test_a_rule_permits(line: str, asked: Attributes, expected: bool) -> None:
    assert permits(line, asked) is expected


@pytest.mark.parametrize(
    ("held", "wanted", "lacking"),
    [
        (["get,list core pods"], "get core pods", ""),
        (["get core pods", "list core pods"], "get,list core pods", ""),
        (["* * *"], "escalate rbac.authorization.k8s.io roles = a", ""),
        (["get core pods = a"], "get core pods", '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'),
        (["get core pods"], "get core pods = a", ""),
        (["get * */scale"], "get apps deployments/scale", ""),
        (["get url /apis/*"], "get url /apis/apps", ""),
        (["get url /apis/*"], "get url /apis", '{NonResourceURLs:["/apis"], Verbs:["get"]}'),
        (["* * *"], "get url /apis", '{NonResourceURLs:["/apis"], Verbs:["get"]}'),
        (
            ["get core pods"],
            "delete,get,list core pods secrets",
            '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "list"]}\n'
            '{APIGroups:[""], Resources:["secrets"], Verbs:["delete" "get" "list"]}',
        ),
    ],
)
def test_what_is_not_held_is_told(held: list[str], wanted: str, lacking: str) -> None:
    owned = [Rule.of(notation.rule(line)) for line in held]
    assert described(missing(owned, [Rule.of(notation.rule(wanted))])) == lacking


def test_every_default_binding_finds_its_role() -> None:
    defaults = list(policy.defaults())
    places = {
        (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        for plural, obj in defaults
        if plural in ("roles", "clusterroles")
    }
    bindings = [obj for plural, obj in defaults if plural.endswith("bindings")]
    for binding in bindings:
        assert (binding["metadata"].get("namespace", ""), binding["roleRef"]["name"]) in places
    assert len(places) + len(bindings) == len(defaults)


def test_an_update_adds_what_is_missing_and_keeps_what_was_added() -> None:
    (default,) = notation.roles("reader\n    get,list core pods\n    get core secrets")
    assert policy.reconciled(default, default) is None
    added = notation.rule("get core nodes")
    present = default | {"rules": [added, default["rules"][0]]}
    wanted = policy.reconciled(present, default)
    assert wanted is not None
    assert wanted["rules"] == [added, *default["rules"]]
    kept = present | {"metadata": present["metadata"] | {"annotations": {notation.AUTOUPDATE: "false"}}}
    assert policy.reconciled(kept, default) is None


def test_a_binding_to_another_role_is_left_alone() -> None:
    (default,) = notation.bindings("view Group/devs")
    present = default | {"roleRef": default["roleRef"] | {"name": "edit"}, "subjects": []}
    assert policy.reconciled(present, default) is None
