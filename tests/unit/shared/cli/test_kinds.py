"""Which resource a word means."""

from __future__ import annotations

from typing import Any

import pytest

from shared.cli.kinds import Kind, choose


def group(name: str, plural: str, kind: str, short: list[str], scope: str = "Namespaced") -> dict[str, Any]:
    resource = {
        "resource": plural,
        "responseKind": {"group": name, "version": "v1", "kind": kind},
        "scope": scope,
        "singularResource": kind.lower(),
        "shortNames": short,
    }
    return {"metadata": {"name": name} if name else {}, "versions": [{"version": "v1", "resources": [resource]}]}


GROUPS = [
    group("", "nodes", "Node", ["no"], "Cluster"),
    group("apps", "deployments", "Deployment", ["deploy"]),
    group("example.com", "deployments", "Deployment", []),
]


@pytest.mark.parametrize("word", ["deploy", "deployments", "deployment", "Deployment", "deployments.apps"])
def test_a_resource_goes_by_its_names(word: str) -> None:
    assert choose(GROUPS, word) == Kind("apps", "v1", "deployments", "Deployment", namespaced=True)


def test_a_group_picks_among_equal_names() -> None:
    assert choose(GROUPS, "deployments.example.com") == Kind("example.com", "v1", "deployments", "Deployment", True)


def test_an_unknown_word_is_none() -> None:
    assert choose(GROUPS, "things") is None


def test_paths_are_those_of_the_api() -> None:
    deployments, nodes = choose(GROUPS, "deploy"), choose(GROUPS, "no")
    assert deployments is not None
    assert nodes is not None
    assert deployments.path("x", "y") == "/apis/apps/v1/namespaces/x/deployments/y"
    assert deployments.path() == "/apis/apps/v1/deployments"
    assert nodes.path("x") == "/api/v1/nodes"
