"""Watches, pages and past states across the death of an API server process, and after a compaction."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.slowness import LIMIT_S

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


class Client:
    """As much of a Kubernetes client as these tests need."""

    def __init__(self, server: ApiServerProcess) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(server.pki.ca_certificate))

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        with self._open(method, path, body) as response:
            return response.status, json.loads(response.read())

    def events(self, path: str, count: int) -> list[tuple[str, str]]:
        """The first events of a watch, as type and name, or type and message of an error."""
        found = []
        with self._open("GET", path) as response:
            assert response.status == 200
            while len(found) < count:
                event = json.loads(response.readline())
                shown = event["object"]
                found.append(
                    (event["type"], shown["message"] if event["type"] == "ERROR" else shown["metadata"]["name"])
                )
        return found

    @contextlib.contextmanager
    def _open(self, method: str, path: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._server.port, context=self._tls, timeout=20)
        headers = {"Authorization": f"Bearer {self._server.token}", "Content-Type": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            with connection.getresponse() as response:
                yield response


def make(client: Client, *names: str) -> None:
    for name in names:
        assert client.call("POST", CONFIGMAPS, {"metadata": {"name": name}})[0] == 201


def test_watches_and_pages_go_on_after_the_server_died(nats_server: NatsServer, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    with ApiServerProcess(nats_server, directory) as server:
        client = Client(server)
        make(client, "a", "b", "c")
        _, page = client.call("GET", f"{CONFIGMAPS}?limit=2&fieldSelector=metadata.name!=kube-root-ca.crt")
        revision, token = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
        assert client.call("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "1"}})[0] == 200
        assert client.call("DELETE", f"{CONFIGMAPS}/b")[0] == 200
        server.kill()
        server.start()
        make(client, "d")
        assert client.events(f"{CONFIGMAPS}?watch=1&resourceVersion={revision}", 3) == [
            ("MODIFIED", "a"),
            ("DELETED", "b"),
            ("ADDED", "d"),
        ]
        _, rest = client.call("GET", f"{CONFIGMAPS}?limit=2&continue={token}")
        assert rest["metadata"]["resourceVersion"] == revision
        assert "d" not in [item["metadata"]["name"] for item in rest["items"]]
        exact = f"{CONFIGMAPS}?resourceVersion={revision}&resourceVersionMatch=Exact"
        _, past = client.call("GET", exact)
        assert {"a", "b", "c"} <= {item["metadata"]["name"] for item in past["items"]}
        code, found = client.call("GET", f"{CONFIGMAPS}/b?resourceVersion={revision}&resourceVersionMatch=Exact")
        assert (code, found["metadata"]["name"]) == (200, "b")


def test_what_is_older_than_the_retention_is_gone(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_HISTORY_SECONDS", "1")
    directory = tmp_path / "data"
    directory.mkdir()
    with ApiServerProcess(nats_server, directory) as server:
        client = Client(server)
        make(client, "a", "b", "c")
        _, page = client.call("GET", f"{CONFIGMAPS}?limit=1")
        revision, token = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
        assert client.call("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "1"}})[0] == 200
        deadline = time.monotonic() + LIMIT_S
        while True:
            code, answer = client.call("GET", f"{CONFIGMAPS}?limit=1&continue={token}")
            if code == 410:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert answer["reason"] == "Expired"
        make(client, "d")
        _, rest = client.call("GET", f"{CONFIGMAPS}?continue={answer['metadata']['continue']}")
        assert "d" in [item["metadata"]["name"] for item in rest["items"]]
        code, answer = client.call("GET", f"{CONFIGMAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
        assert (code, answer["message"]) == (410, "The resourceVersion for the provided list is too old.")
        ((kind, message),) = client.events(f"{CONFIGMAPS}?watch=1&resourceVersion={revision}", 1)
        assert kind == "ERROR"
        assert message.startswith(f"too old resource version: {revision} (")
        # the present is whole, whatever its age
        _, present = client.call("GET", CONFIGMAPS)
        assert {"a", "b", "c", "d"} <= {item["metadata"]["name"] for item in present["items"]}
