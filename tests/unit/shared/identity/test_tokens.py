"""Tokens: what is issued verifies as the same caller, and nothing else verifies."""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import jwt
import pytest

from shared.errors import Unauthorized
from shared.identity import tokens
from shared.identity.pki import ensure_pki
from shared.identity.tokens import BoundObject, TokenKey


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    return tokens.load_key(ensure_pki(tmp_path, addresses=[], names=[]).service_account_key)


def test_a_user_token_names_user_and_groups(key: TokenKey) -> None:
    user = tokens.verify(key, tokens.issue(key, "ada", ["system:masters"], 60, {"team": ["blue"]})).user
    assert (user.name, user.groups, user.extra["team"]) == ("ada", ("system:masters",), ("blue",))


def test_a_service_account_token_carries_the_claims_of_kubernetes(key: TokenKey) -> None:
    token = tokens.issue_service_account(
        key,
        namespace="shop",
        name="web",
        uid="u-1",
        ttl=3600,
        bound=BoundObject("Pod", "web-0", "u-2"),
        node=BoundObject("Node", "node-1", "u-3"),
    )
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "system:serviceaccount:shop:web"
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"] == {
        "namespace": "shop",
        "serviceaccount": {"name": "web", "uid": "u-1"},
        "pod": {"name": "web-0", "uid": "u-2"},
        "node": {"name": "node-1", "uid": "u-3"},
    }


def test_a_service_account_token_verifies_as_its_account(key: TokenKey) -> None:
    token = tokens.issue_service_account(
        key, namespace="shop", name="web", uid="u-1", ttl=60, bound=BoundObject("Pod", "web-0", "u-2")
    )
    verified = tokens.verify(key, token)
    assert verified.user.name == "system:serviceaccount:shop:web"
    assert verified.user.groups == (
        "system:serviceaccounts",
        "system:serviceaccounts:shop",
        "system:authenticated",
    )
    assert verified.user.extra["authentication.kubernetes.io/pod-uid"] == ("u-2",)
    assert verified.service_account == ("shop", "web", "u-1")
    assert verified.bound_objects == (BoundObject("Pod", "web-0", "u-2"),)


def test_the_node_of_a_pod_bound_token_is_information_only(key: TokenKey) -> None:
    token = tokens.issue_service_account(
        key,
        namespace="shop",
        name="web",
        uid="u-1",
        ttl=60,
        bound=BoundObject("Pod", "web-0", "u-2"),
        node=BoundObject("Node", "node-1", "u-3"),
    )
    assert tokens.verify(key, token).bound_objects == (BoundObject("Pod", "web-0", "u-2"),)


def test_an_expired_token_is_refused(key: TokenKey) -> None:
    with pytest.raises(Unauthorized):
        tokens.verify(key, tokens.issue(key, "ada", [], -10))


def test_a_token_that_was_good_is_refused_once_it_has_expired(key: TokenKey, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(minutes=2)

    token = tokens.issue(key, "ada", [], 60)
    assert tokens.verify(key, token) is tokens.verify(key, token)
    monkeypatch.setattr("jwt.api_jwt.datetime", Later)
    monkeypatch.setattr(tokens.time, "time", lambda: Later.now(UTC).timestamp())
    with pytest.raises(Unauthorized):
        tokens.verify(key, token)


def test_a_token_for_another_audience_is_refused(key: TokenKey) -> None:
    token = tokens.issue_service_account(key, namespace="a", name="b", uid="c", ttl=60, audiences=["vault"])
    with pytest.raises(Unauthorized):
        tokens.verify(key, token)
    assert tokens.verify(key, token, ["vault", "other"]).audiences == ("vault",)


def test_a_token_of_another_key_is_refused(key: TokenKey, tmp_path: Path) -> None:
    other = tokens.load_key(ensure_pki(tmp_path / "other", addresses=[], names=[]).service_account_key)
    with pytest.raises(Unauthorized):
        tokens.verify(key, tokens.issue(other, "ada", ["system:masters"], 60))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_of_another_algorithm_is_refused(key: TokenKey, algorithm: str) -> None:
    claims = {"sub": "ada", "groups": ["system:masters"], "aud": [tokens.AUDIENCE], "iss": tokens.ISSUER, "exp": 2**33}
    secret = None if algorithm == "none" else "k" * 32
    with pytest.raises(Unauthorized):
        tokens.verify(key, jwt.encode(claims, secret, algorithm=algorithm))
