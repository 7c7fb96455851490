"""Docker configs."""

from __future__ import annotations

import base64

import pytest

from shared.images import credentials
from shared.images.credentials import Credential
from shared.images.errors import ImageDenied


def auth(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}


def test_the_longest_matching_entry_wins() -> None:
    config = {"auths": {"quay.io": auth("all"), "quay.io/team": auth("team"), "quay.io/teamwork": auth("other")}}
    assert credentials.find(config, "quay.io", "team/app") == Credential("team", "secret")


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("*.example.com", "reg.example.com"),
        ("http://localhost:5000", "localhost:5000"),
    ],
)
def test_keys_may_be_urls_or_patterns(key: str, registry: str) -> None:
    assert credentials.find({"auths": {key: auth("me")}}, registry, "app") == Credential("me", "secret")


@pytest.mark.parametrize("key", ["example.com", "*.com", "reg.example.com:5000"])
def test_a_key_for_another_host_does_not_match(key: str) -> None:
    assert credentials.find({"auths": {key: auth("me")}}, "reg.example.com", "app") is None


def test_an_unreadable_entry_is_named() -> None:
    with pytest.raises(ImageDenied, match=r"quay\.io"):
        credentials.find({"auths": {"quay.io": {"auth": "%%%"}}}, "quay.io", "app")
