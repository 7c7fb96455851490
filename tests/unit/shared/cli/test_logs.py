"""`wherry logs`: arguments and printing."""

from __future__ import annotations

import io
import json

import msgspec
import pytest

from shared.bus.consumer import Delivery
from shared.cli import bus, logs
from shared.cli.cluster import ClusterError
from shared.cli.logs import Printer, Query
from shared.settings import BusSettings
from tests.fakes.nats import free_port


async def test_a_bus_that_does_not_answer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "REACH_LIMIT_S", 0.05)
    with pytest.raises(ClusterError, match=r"the bus at .* does not answer; see `wherry status`"):
        await logs.read(BusSettings(f"nats://127.0.0.1:{free_port()}", "admin", ""), Query([">"]), io.StringIO())


def test_a_filter_names_what_is_given() -> None:
    assert logs.subject_filter("", "ns", "a.b", "") == "logs.*.ns.a%2Eb.*"


def test_times_are_printed_and_read_to_the_nanosecond() -> None:
    stamp = 1795508135_000000789
    assert logs.timestamp(stamp) == "2026-11-24T08:15:35.000000789Z"
    assert logs.nanoseconds(logs.timestamp(stamp)) == stamp
    assert logs.nanoseconds("2026-11-24T08:15:35Z") == 1795508135_000000000


def message(*texts: str, identity: str = "") -> Delivery:
    body = {
        "kubernetes": {"namespace_name": "ns", "pod_name": "p", "pod_id": "u", "container_name": "c", "labels": {}},
        "records": [{"time": 10**18 + n, "stream": "stdout", "log": text} for n, text in enumerate(texts)],
    }
    return Delivery("logs.n.ns.p.c", 1, msgspec.msgpack.encode(body), {"Nats-Msg-Id": identity}, 0.0, 0)


def test_a_message_sent_twice_is_printed_once() -> None:
    out = io.StringIO()
    printer = Printer(Query([]), out)
    for _ in range(2):
        printer.take(message("a", identity="same"))
    assert out.getvalue() == "a\n"


def test_json_has_the_whole_record() -> None:
    out = io.StringIO()
    Printer(Query([], as_json=True), out).take(message("a"))
    found = json.loads(out.getvalue())
    assert (found["log"], found["kubernetes"]["pod_name"]) == ("a", "p")
