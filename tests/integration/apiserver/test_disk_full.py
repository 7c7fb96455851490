"""A disk that fills up: writes are refused with a clear answer, reads go on, and nothing acknowledged is lost."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.disks import disk
from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.integration.apiserver.test_history_process import CONFIGMAPS, Client
from tests.slowness import LIMIT_S

LARGE = "x" * 200_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk(tmp_path / "disk", 96) as directory:
        yield directory


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def make(client: Client, name: str) -> tuple[int, Any]:
    return client.call("POST", CONFIGMAPS, {"metadata": {"name": name}, "data": {"x": LARGE}})


def names(client: Client) -> set[str]:
    """A consistent read."""
    code, listed = client.call("GET", CONFIGMAPS)
    assert code == 200, listed
    return {item["metadata"]["name"] for item in listed["items"]} - {"kube-root-ca.crt"}


@pytest.mark.root
def test_writes_wait_for_space_that_others_took(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_BUS_STORE", str(small_disk))
    directory = tmp_path / "data"
    directory.mkdir()
    with NatsServer(small_disk) as nats, ApiServerProcess(nats, directory) as server:
        client = Client(server)
        assert make(client, "a")[0] == 201
        assert make(client, "b")[0] == 201
        junk = small_disk / "junk"
        status = os.statvfs(small_disk)
        with junk.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - (1 << 20))
        # the free space is not looked at for every write
        numbers = itertools.count()
        wait_until(lambda: make(client, f"late-{next(numbers)}")[0] != 201)
        code, answer = make(client, "refused")
        assert (code, answer["reason"], answer["details"]["retryAfterSeconds"]) == (503, "ServiceUnavailable", 5)
        assert "the state log is full" in answer["message"]
        stored = names(client)
        assert {"a", "b"} <= stored
        assert "refused" not in stored
        assert client.call("GET", f"{CONFIGMAPS}/a")[1]["data"] == {"x": LARGE}
        # what makes room is never refused
        assert client.call("DELETE", f"{CONFIGMAPS}/b")[0] == 200
        junk.unlink()
        wait_until(lambda: make(client, "c")[0] == 201)
        assert {"a", "c"} <= names(client)


@pytest.mark.root
def test_writes_wait_for_the_compaction_when_the_history_fills_the_disk(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_HISTORY_SECONDS", "15")
    monkeypatch.setenv("WHERRY_BUS_STORE", str(small_disk))
    directory = tmp_path / "data"
    directory.mkdir()
    with NatsServer(small_disk) as nats, ApiServerProcess(nats, directory) as server:
        client = Client(server)
        assert make(client, "kept")[0] == 201
        acknowledged = 0
        while True:
            change = {"data": {"x": LARGE, "n": str(acknowledged + 1)}}
            code, answer = client.call("PATCH", f"{CONFIGMAPS}/kept", change)
            if code != 200:
                break
            acknowledged += 1
        assert (code, answer["reason"]) == (503, "ServiceUnavailable")
        assert "the state log is full" in answer["message"]
        assert names(client) == {"kept"}
        assert client.call("GET", f"{CONFIGMAPS}/kept")[1]["data"]["n"] == str(acknowledged)
        # the superseded revisions grow old and go
        wait_until(lambda: client.call("PATCH", f"{CONFIGMAPS}/kept", {"data": {"n": "last"}})[0] == 200)
        assert client.call("GET", f"{CONFIGMAPS}/kept")[1]["data"]["n"] == "last"
