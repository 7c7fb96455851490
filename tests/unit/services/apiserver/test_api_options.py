"""Parameters that say what they cannot say are refused, and none is taken for its absence."""

from typing import Any

import jwt
import pytest

from shared.errors import BadRequest, Timeout
from tests.unit.services.apiserver.memory_api import MemoryApi

MAPS = "/api/v1/namespaces/default/configmaps"
MAP = f"{MAPS}/one"
BODY: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
FORBIDDEN, UNKNOWN, INVALID = "FieldValueForbidden", "FieldValueNotSupported", "FieldValueInvalid"


@pytest.mark.parametrize(
    ("method", "url", "kind", "reason", "field"),
    [
        ("POST", f"{MAPS}?dryRun=all", "CreateOptions", UNKNOWN, "dryRun"),
        ("PUT", f"{MAP}?dryRun=all", "UpdateOptions", UNKNOWN, "dryRun"),
        ("DELETE", f"{MAP}?dryRun=all", "DeleteOptions", UNKNOWN, "dryRun"),
        ("POST", f"{MAPS}?fieldValidation=strict", "CreateOptions", UNKNOWN, "fieldValidation"),
        ("POST", f"{MAPS}?fieldManager=%01", "CreateOptions", INVALID, "fieldManager"),
        ("PUT", f"{MAP}?fieldManager={'m' * 129}", "UpdateOptions", "FieldValueTooLong", "fieldManager"),
        ("DELETE", f"{MAP}?propagationPolicy=later", "DeleteOptions", UNKNOWN, "propagationPolicy"),
        (
            "DELETE",
            f"{MAP}?propagationPolicy=Orphan&orphanDependents=true",
            "DeleteOptions",
            INVALID,
            "propagationPolicy",
        ),
        ("GET", f"{MAPS}?resourceVersionMatch=Exact", "ListOptions", FORBIDDEN, "resourceVersionMatch"),
        (
            "GET",
            f"{MAPS}?resourceVersion=0&resourceVersionMatch=Exact",
            "ListOptions",
            FORBIDDEN,
            "resourceVersionMatch",
        ),
        ("GET", f"{MAPS}?resourceVersion=1&resourceVersionMatch=About", "ListOptions", UNKNOWN, "resourceVersionMatch"),
        ("GET", f"{MAPS}?sendInitialEvents=true", "ListOptions", FORBIDDEN, "sendInitialEvents"),
    ],
)
async def test_a_parameter_that_means_nothing_is_refused(
    api: MemoryApi, method: str, url: str, kind: str, reason: str, field: str
) -> None:
    if method != "POST":
        await api.create(MAPS, BODY)
    refused = await api.failure(method, url, BODY if method in ("POST", "PUT") else None)
    assert refused.code == 422
    details = refused.status()["details"]
    assert (details["group"], details["kind"]) == ("meta.k8s.io", kind)  # type: ignore[index]
    assert [(one["reason"], one["field"]) for one in details["causes"]] == [(reason, field)]  # type: ignore[index]


async def test_a_deletion_of_a_limited_collection_takes_no_more_than_that(api: MemoryApi) -> None:
    for name in ("a", "b", "c"):
        await api.create(MAPS, BODY | {"metadata": {"name": name, "labels": {"set": "1"}}})
    gone = await api.delete(f"{MAPS}?labelSelector=set&limit=2")
    assert [one["metadata"]["name"] for one in gone["items"]] == ["a", "b"]
    left = await api.get(f"{MAPS}?labelSelector=set")
    assert [one["metadata"]["name"] for one in left["items"]] == ["c"]


async def test_a_page_has_a_revision_already(api: MemoryApi) -> None:
    for name in ("a", "b"):
        await api.create(MAPS, BODY | {"metadata": {"name": name}})
    token = (await api.get(f"{MAPS}?limit=1"))["metadata"]["continue"]
    with pytest.raises(BadRequest, match="specifying resource version is not allowed when using continue"):
        await api.get(f"{MAPS}?continue={token}&resourceVersion=5")
    with pytest.raises(BadRequest, match="continue key is not valid: it is no token of this server"):
        await api.get(f"{MAPS}?continue=abc")


async def test_an_object_is_not_told_older_than_was_asked_for(api: MemoryApi) -> None:
    made = await api.create(MAPS, BODY)
    assert await api.get(f"{MAP}?resourceVersion={made['metadata']['resourceVersion']}") == made
    with pytest.raises(Timeout, match="Too large resource version"):
        await api.get(f"{MAP}?resourceVersion=99999999")


async def test_tokens_can_be_checked_with_the_published_key(api: MemoryApi) -> None:
    configuration = await api.get("/.well-known/openid-configuration")
    assert configuration["jwks_uri"].endswith("/openid/v1/jwks")
    keys = jwt.PyJWKSet.from_json((await api.get("/openid/v1/jwks")).decode())
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["shop"]}}
    answer = await api.create("/api/v1/namespaces/default/serviceaccounts/default/token", asked)
    token = answer["status"]["token"]
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="shop", issuer=configuration["issuer"])
    assert claims["sub"] == "system:serviceaccount:default:default"
