"""Pure rules: media types, deletion, quality of service, continue tokens, routes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver import negotiation, pages, remove, routes
from services.apiserver.negotiation import Accepted
from services.apiserver.settings import ApiSettings
from shared.errors import BadRequest, NotAcceptable, SettingsError
from shared.objects import registry
from shared.objects.usage.quality import quality_class

NOW = datetime(2026, 11, 24, 8, 15, 35, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Accepted("application/json")),
        ("*/*", Accepted("application/json")),
        ("text/html, */*;q=0.8", Accepted("application/json")),
        ("application/json;q=0.1, application/yaml", Accepted("application/yaml")),
        ("application/json;stream=watch", Accepted("application/json")),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Accepted("application/json", "Table", "v1beta1")),
        ("application/json;as=Widget;v=v1;g=meta.k8s.io,application/json", Accepted("application/json")),
        ("application/vnd.kubernetes.protobuf,application/json", Accepted("application/vnd.kubernetes.protobuf")),
    ],
)
def test_accept_headers_choose(header: str, expected: Accepted) -> None:
    assert negotiation.accept(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "application/*",
        "application/cbor",
        "application/json;as=Table;v=v9;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
    ],
)
def test_accept_headers_that_leave_nothing(header: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiation.accept(header)


@given(st.integers(0, 2**62), st.text(max_size=20), st.text(max_size=40))
def test_continue_tokens_carry_any_key(revision: int, namespace: str, name: str) -> None:
    page = pages.Page(revision, (namespace, name))
    assert pages.decode(pages.encode(page)) == page


@given(st.text(max_size=60))
def test_a_continue_token_that_is_none_is_a_bad_request(token: str) -> None:
    with pytest.raises(BadRequest):
        pages.decode(f"{token}!")


def container(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}}


BOTH = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([container()], "BestEffort"),
        ([container(BOTH, BOTH)], "Guaranteed"),
        ([container({"cpu": "1000m", "memory": "1024Mi"}, BOTH)], "Guaranteed"),
        ([container(BOTH)], "Burstable"),
        ([container(BOTH, BOTH), container()], "Burstable"),
        ([container({"cpu": "1"}, {"cpu": "1"})], "Burstable"),
    ],
)
def test_the_quality_of_a_pod_follows_from_its_containers(containers: list[dict[str, Any]], expected: str) -> None:
    assert quality_class({"containers": containers}) == expected


def pod(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **metadata}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}


def test_a_later_deletion_shortens_but_never_lengthens() -> None:
    resource = registry.by_plural("", "v1", "pods")
    assert resource is not None
    first = remove.decide(resource, pod(), {}, NOW)
    assert first.object["metadata"]["deletionTimestamp"] == "2026-11-24T08:16:05Z"
    longer = remove.decide(resource, first.object, {"gracePeriodSeconds": 90}, NOW)
    assert not longer.changed
    shorter = remove.decide(resource, first.object, {"gracePeriodSeconds": 5}, NOW)
    assert shorter.object["metadata"]["deletionTimestamp"] == "2026-11-24T08:15:40Z"
    assert remove.decide(resource, first.object, {"gracePeriodSeconds": 0}, NOW).gone


def test_a_decision_leaves_the_stored_object_alone() -> None:
    resource = registry.by_plural("", "v1", "pods")
    assert resource is not None
    stored = pod(generation=1)
    remove.decide(resource, stored, {"propagationPolicy": "Orphan"}, NOW)
    assert stored == pod(generation=1)


def test_a_namespace_and_its_status_are_told_from_what_is_in_it() -> None:
    status = routes.resolve("/api/v1/namespaces/shop/status")
    assert status is not None
    assert (status.resource.plural, status.name, status.subresource_name) == ("namespaces", "shop", "status")
    pods = routes.resolve("/api/v1/namespaces/shop/pods")
    assert pods is not None
    assert (pods.resource.plural, pods.namespace, pods.name) == ("pods", "shop", "")


def test_paths_of_documents_are_no_resources() -> None:
    assert [routes.resolve(path) for path in ("/", "/api", "/api/v1", "/apis/apps/v1", "/version")] == [None] * 5


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WHERRY_API_ADDRESSES", "localhost:6443"),
        ("WHERRY_API_ADDRESSES", "127.0.0.1:0"),
        ("WHERRY_API_ADVERTISE", "nowhere"),
        ("WHERRY_NOT_READY_TOLERATION_SECONDS", "soon"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        ApiSettings.from_environment({variable: value})


def test_the_first_reachable_address_is_advertised() -> None:
    settings = ApiSettings.from_environment({"WHERRY_API_ADDRESSES": "127.0.0.1:6443,10.89.0.1:6443"})
    assert settings.advertise == ("10.89.0.1", 6443)
