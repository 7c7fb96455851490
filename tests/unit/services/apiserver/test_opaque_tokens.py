"""Static and bootstrap tokens: who bears them, and which of them are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from services.apiserver.auth.authentication import Authenticator
from services.apiserver.auth.opaque import StaticTokens
from shared.errors import SettingsError, Unauthorized
from shared.identity.users import AUTHENTICATED
from tests.unit.services.apiserver.memory_api import MemoryApi

SECRETS = "/api/v1/namespaces/kube-system/secrets"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
TOKEN = "abcdef.0123456789abcdef"
GOOD = {
    "token-id": "abcdef",
    "token-secret": "0123456789abcdef",
    "usage-bootstrap-authentication": "true",
    "auth-extra-groups": "system:bootstrappers:workers,system:bootstrappers:kubeadm:default-node-token",
    "expiration": "2999-01-01T00:00:00Z",
}


def static(tmp_path: Path, text: str) -> StaticTokens:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    return StaticTokens.load(path)


async def put_secret(api: MemoryApi, kind: str = "bootstrap.kubernetes.io/token", **changes: str) -> None:
    data = {key: value for key, value in {**GOOD, **changes}.items() if value}
    body = {"metadata": {"name": "bootstrap-token-abcdef"}, "type": kind, "stringData": data}
    await api.create(SECRETS, body)


async def caller(authenticator: Authenticator, token: str) -> Any:
    return await authenticator.authenticate({"authorization": f"Bearer {token}"}, None)


async def test_a_static_token_names_a_user_and_his_groups(api: MemoryApi, tmp_path: Path) -> None:
    tokens = static(tmp_path, 's3cret,carol,7,"ops, dev"\n\nother,dave,8\n')
    authenticator = dataclasses.replace(api.parts.authenticator, static=tokens)
    carol = await caller(authenticator, "s3cret")
    assert (carol.name, carol.uid, carol.groups) == ("carol", "7", ("ops", "dev", AUTHENTICATED))
    assert (await caller(authenticator, "other")).groups == (AUTHENTICATED,)
    with pytest.raises(Unauthorized):
        await caller(authenticator, "S3cret")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", "line 1: token, user and uid are needed, and there are 2 columns"),
        ("x,alice,1\n,bob,2\n", "line 2: the token is empty"),
        ("x,,1\n", "line 1: the user is empty"),
        ("x,alice,1\nx,bob,2\n", "line 2: the token of bob is that of alice as well"),
        ('x,"alice,1\n', "cannot be read: unexpected end of data"),
    ],
)
def test_a_file_of_static_tokens_that_is_wrong_is_refused_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        static(tmp_path, text)


def test_a_file_of_static_tokens_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tokens.csv cannot be read: .*No such file"):
        StaticTokens.load(tmp_path / "tokens.csv")


async def test_a_bootstrap_token_is_the_secret_of_its_name(api: MemoryApi) -> None:
    await put_secret(api)
    user = await caller(api.parts.authenticator, TOKEN)
    assert user.name == "system:bootstrap:abcdef"
    assert user.groups == (
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
        "system:bootstrappers:workers",
        AUTHENTICATED,
    )
    await api.delete(f"{SECRETS}/bootstrap-token-abcdef")
    with pytest.raises(Unauthorized):
        await caller(api.parts.authenticator, TOKEN)


@pytest.mark.parametrize(
    "changes",
    [
        {"token-secret": "fedcba9876543210"},
        {"token-id": "fedcba"},
        {"usage-bootstrap-authentication": "false"},
        {"usage-bootstrap-authentication": ""},
        {"expiration": "2001-01-01T00:00:00Z"},
        {"expiration": "tomorrow"},
        {"auth-extra-groups": "system:masters"},
        {"kind": "Opaque"},
    ],
)
async def test_a_secret_that_grants_nothing_makes_no_token(api: MemoryApi, changes: dict[str, str]) -> None:
    await put_secret(api, **changes)
    with pytest.raises(Unauthorized):
        await caller(api.parts.authenticator, TOKEN)


async def test_a_review_knows_bootstrap_tokens_for_this_server_alone(api: MemoryApi) -> None:
    await put_secret(api)
    status = (await api.create(REVIEWS, {"spec": {"token": TOKEN}}))["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == "system:bootstrap:abcdef"
    elsewhere = await api.create(REVIEWS, {"spec": {"token": TOKEN, "audiences": ["vault"]}})
    assert not elsewhere["status"].get("authenticated")
