"""Standard output, and what a record says of its pod."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import pytest

from services.logcollector.cri import Record
from services.logcollector.enrich import read_pod
from services.logcollector.outputs.port import Delivery, OutputFailure
from services.logcollector.outputs.stdout import StdoutOutput
from services.logcollector.outputs.stream import MESSAGE_BYTES, StreamOutput
from shared.bus.fake import FakeBroker

DELIVERY = Delivery("id", "ns", "pod", "web", {"pod_name": "pod"}, [Record(1, "stdout", "a"), Record(2, "stderr", "b")])


async def test_standard_output_gets_one_object_a_line() -> None:
    out = io.BytesIO()
    await StdoutOutput(out).deliver(DELIVERY)
    documents = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(d["time"], d["stream"], d["log"]) for d in documents] == [(1, "stdout", "a"), (2, "stderr", "b")]
    assert documents[0]["kubernetes"] == {"pod_name": "pod"}


async def test_a_batch_that_the_broker_would_not_take_goes_out_in_parts_that_are_known_again() -> None:
    sent: dict[str, list[str]] = {}

    class Told:
        async def publish(self, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
            assert len(body) <= MESSAGE_BYTES
            sent[headers["Nats-Msg-Id"]] = [one["log"][0] for one in msgspec.msgpack.decode(body)["records"]]
            return 1

    async with FakeBroker() as broker:
        output = StreamOutput(broker.connect(), "node-1")
        output._jetstream = Told()  # type: ignore[assignment]
        records = [Record(number, "stdout", letter * (1 << 20)) for number, letter in enumerate("abcdef")]
        for _ in range(2):
            await output.deliver(Delivery("id", "ns", "pod", "web", {}, records))
    assert sent == {"id/1": ["a", "b", "c"], "id/2": ["d", "e", "f"]}


@pytest.fixture
def full() -> Iterator[IO[bytes]]:
    with open("/dev/full", "wb", buffering=0) as out:
        yield out


async def test_a_full_output_is_a_failure_that_is_tried_again(full: IO[bytes]) -> None:
    with pytest.raises(OutputFailure):
        await StdoutOutput(full).deliver(DELIVERY)


def test_a_pod_is_known_by_its_directory_and_its_document(tmp_path: Path) -> None:
    directory = tmp_path / "ns_pod.with.dots_uid-1"
    directory.mkdir()
    early = read_pod(directory)
    assert early
    assert (early.namespace, early.name, early.uid, early.documented) == ("ns", "pod.with.dots", "uid-1", False)
    document = {"labels": {"app": "x"}, "containers": {"web": {"image": "web:1"}}}
    (directory / "pod.json").write_text(json.dumps(document))
    pod = read_pod(directory)
    assert pod
    assert pod.documented
    assert pod.kubernetes("web", "node-1") == {
        "namespace_name": "ns",
        "pod_name": "pod.with.dots",
        "pod_id": "uid-1",
        "labels": {"app": "x"},
        "host": "node-1",
        "container_name": "web",
        "container_image": "web:1",
    }


def test_a_directory_with_another_kind_of_name_is_no_pod(tmp_path: Path) -> None:
    assert read_pod(tmp_path / "lost+found") is None
