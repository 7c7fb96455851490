"""Which rule of an audit policy fits a request, and which policies are refused."""

from pathlib import Path

import pytest
import yaml

from services.apiserver.audit.policy import Decision, load, parse
from services.apiserver.auth import requests
from shared.errors import SettingsError
from shared.identity.users import User

ALICE = User("alice", ("dev", "system:authenticated"))
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"


def level(rule: str, method: str, path: str, *, watch: bool = False) -> str:
    policy = parse({"rules": [{"level": "Request", **yaml.safe_load(rule)}]})
    return policy.decide(ALICE, requests.attributes(method, path, watch=watch)).level


POD = "/api/v1/namespaces/shop/pods/web"


@pytest.mark.parametrize(
    ("rule", "path", "fits"),
    [
        ("{}", POD, True),
        ("users: [alice]", POD, True),
        ("users: [bob]", POD, False),
        ("userGroups: [ops, dev]", POD, True),
        ("userGroups: [ops]", POD, False),
        ("verbs: [get, list]", POD, True),
        ("verbs: [create]", POD, False),
        ("namespaces: [shop]", POD, True),
        ("namespaces: [shop]", "/api/v1/namespaces/other/pods/web", False),
        ("namespaces: ['']", "/api/v1/nodes/n", True),
        ("namespaces: [shop]", "/healthz", False),
        ("resources: [{group: ''}]", POD, True),
        ("resources: [{group: apps}]", POD, False),
        ("resources: [{resources: [pods]}]", POD, True),
        ("resources: [{resources: [pods]}]", f"{POD}/log", False),
        ("resources: [{resources: [pods/log]}]", f"{POD}/log", True),
        ("resources: [{resources: ['pods/*']}]", f"{POD}/log", True),
        ("resources: [{resources: ['*/log']}]", f"{POD}/log", True),
        ("resources: [{resources: ['*/log']}]", POD, False),
        ("resources: [{resources: ['*']}]", f"{POD}/log", True),
        ("resources: [{resources: [pods], resourceNames: [web]}]", POD, True),
        ("resources: [{resources: [pods], resourceNames: [db]}]", POD, False),
        ("nonResourceURLs: [/healthz*]", "/healthz/ping", True),
        ("nonResourceURLs: [/healthz]", "/healthz/ping", False),
        ("nonResourceURLs: ['*']", "/version", True),
        ("nonResourceURLs: ['*']", POD, False),
    ],
)
def test_a_rule_fits_what_all_its_lists_name(rule: str, path: str, fits: bool) -> None:
    assert level(rule, "GET", path) == ("Request" if fits else "None")


def test_the_first_rule_that_fits_decides() -> None:
    policy = parse(
        {
            "omitStages": ["RequestReceived"],
            "omitManagedFields": True,
            "rules": [
                {"level": "None", "verbs": ["watch"]},
                {"level": "Metadata", "omitStages": ["Panic"], "omitManagedFields": False},
            ],
        }
    )
    assert policy.decide(ALICE, requests.attributes("GET", "/api/v1/pods", watch=True)).level == "None"
    found = policy.decide(ALICE, requests.attributes("GET", "/api/v1/pods", watch=False))
    assert found == Decision("Metadata", frozenset(("RequestReceived", "Panic")), False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kind: Policy\napiVersion: v1\n", "apiVersion audit.k8s.io/v1"),
        (HEAD + "rules: []\n", "at least one"),
        (HEAD + "rules: [{level: All}]\n", r"rules\[0\].level"),
        (HEAD + "rules: [{level: None, user: [a]}]\n", r"unknown field rules\[0\].user"),
        (HEAD + "rules: [{level: None, users: a}]\n", r"rules\[0\].users"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [healthz]}]\n", "must begin with"),
        (HEAD + "rules: [{level: None, nonResourceURLs: ['/a*b']}]\n", "last character"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]\n", "both regular resources"),
        (HEAD + "rules: [{level: None, resources: [{group: apps/v1}]}]\n", "without its version"),
        (HEAD + "rules: [{level: None, resources: [{resourceNames: [a]}]}]\n", "at least one resource"),
        (HEAD + "omitStages: [Never]\nrules: [{level: None}]\n", r"omitStages\[0\]"),
        ("{", "audit policy"),
    ],
)
def test_a_wrong_policy_is_refused_by_name(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=named):
        load(path)


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.yaml")
