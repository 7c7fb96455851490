"""What a proxied request is for, how it is written to the pod, and what of the answer comes back."""

from typing import Any

import pytest

from services.apiserver.protocol import Query, Request
from services.apiserver.routes import Target, resolve
from services.apiserver.streaming.exchanges import Answer, Route, passed_back, written
from services.apiserver.streaming.proxying import Name, split_name, split_path
from shared.errors import BadRequest
from shared.identity.users import ANONYMOUS

POD = "/api/v1/namespaces/shop/pods/web:8080/proxy"


def target(path: str) -> Target:
    found = resolve(path)
    assert found is not None
    return found


def request(**fields: Any) -> Request:
    given: dict[str, Any] = {"method": "GET", "path": f"{POD}/", "query": Query({}), "headers": {}, "body": b""}
    return Request(ANONYMOUS, **(given | fields))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", Name("", "web", "")),
        ("web:http", Name("", "web", "http")),
        ("http:web:80", Name("http", "web", "80")),
        ("http:web:", Name("http", "web", "")),
        ("https:web:443", Name("https", "web", "443")),
    ],
)
def test_a_name_may_tell_scheme_and_port(text: str, expected: Name) -> None:
    assert split_name(text, "pod") == expected


@pytest.mark.parametrize("text", ["ftp:web:80", ":80", "a:b:c:d"])
def test_a_name_that_cannot_be_reached_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        split_name(text, "pod")


@pytest.mark.parametrize("rest", ["", "/", "/a", "/a/b/", "/a//b", "/pods/web:8080/proxy/x"])
def test_the_path_behind_the_proxy_is_kept(rest: str) -> None:
    found = target(POD + rest)
    assert (found.namespace, found.name, found.subresource_name) == ("shop", "web:8080", "proxy")
    assert split_path(POD + rest, found) == (POD, rest)


def test_a_namespace_called_proxy_is_a_namespace() -> None:
    found = target("/api/v1/namespaces/proxy/services/web/proxy/a/b/c")
    assert (found.namespace, found.name, found.subresource_name) == ("proxy", "web", "proxy")
    assert target("/api/v1/namespaces/proxy/pods/proxy").name == "proxy"


def test_special_characters_are_quoted_again() -> None:
    assert split_path(f"{POD}/ä b?", target(POD))[1] == "/%C3%A4%20b%3F"


def test_the_pod_is_not_told_the_callers_credentials() -> None:
    headers = {"authorization": "Bearer secret", "impersonate-user": "x", "x-mine": "1", "host": "api:6443"}
    asked = request(method="POST", query=Query({"a": ["1", "2"], "b": [""]}), headers=headers, body=b"hello")
    head, body = written(asked, Route(POD, "/x", "web:8080")).split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[:3] == ["POST /x?a=1&a=2&b= HTTP/1.1", "Host: web:8080", "Connection: close"]
    assert {"x-mine: 1", "Content-Length: 5", f"X-Forwarded-Uri: {POD}/x", "X-Forwarded-Host: api:6443"} <= set(lines)
    assert "secret" not in head.decode()
    assert "impersonate" not in head.decode()
    assert body == b"hello"


def test_a_request_to_change_the_protocol_is_passed_on_without_the_token() -> None:
    headers = {
        "upgrade": "websocket",
        "connection": "keep-alive, Upgrade",
        "sec-websocket-key": "abc",
        "sec-websocket-protocol": "chat, base64url.bearer.authorization.k8s.io.c2VjcmV0",
    }
    lines = written(request(headers=headers), Route(POD, "/", "web:8080")).decode().split("\r\n")
    assert {"Connection: Upgrade", "Upgrade: websocket", "sec-websocket-key: abc"} <= set(lines)
    assert "sec-websocket-protocol: chat" in lines
    assert "Connection: close" not in lines


def test_a_redirect_leads_back_through_the_proxy() -> None:
    answer = Answer(headers=[("Location", "/login"), ("Connection", "close"), ("Set-Cookie", "a=b")])
    assert passed_back(answer, POD, frozenset()) == (("Set-Cookie", "a=b"), ("Location", f"{POD}/login"))
