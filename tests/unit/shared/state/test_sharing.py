"""Equal parts of objects are held once, and every object stays the bytes that it was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.subjects import Ref
from shared.state import sharing
from shared.state.record import Record
from shared.state.sharing import Marks, Shares, cut

ENCODERS = {sharing.JSON: msgspec.json.encode, sharing.MSGPACK: msgspec.msgpack.encode}


def pod(name: str, *, status: bool = True) -> dict[str, Any]:
    """A pod of a template, written by its creator and by its node."""
    containers = [{"name": f"c-{number}", "image": "registry.example/web:1.27"} for number in range(20)]
    owned = {f"f:field-{number}": {} for number in range(40)}
    fields = [
        {"manager": "creator", "time": name, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": owned}},
        {"manager": "node", "time": name, "fieldsType": "FieldsV1", "fieldsV1": {"f:status": owned}},
    ]
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "managedFields": fields}}
    made["metadata"]["resourceVersion"] = "7"
    made["spec"] = {"containers": containers}
    return made | ({"status": {"podIP": name}} if status else {})


@pytest.mark.parametrize("marks", ENCODERS)
@pytest.mark.parametrize("status", [True, False])
def test_two_pods_of_a_template_share_their_spec_and_the_fields_of_their_managers(marks: Marks, status: bool) -> None:
    shares = Shares()
    one, other = (shares.divide(ENCODERS[marks](pod(name, status=status)), marks) for name in ("one", "other"))

    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    held = {id(piece) for piece in one}
    shared = sum(len(piece) for piece in other if id(piece) in held)
    assert shared > 0.7 * sum(map(len, other))
    assert b"".join(other) == ENCODERS[marks](pod("other", status=status))


@given(
    st.lists(st.sampled_from([*sharing.JSON, *sharing.MSGPACK, b"x", b'{"a":', b"}}"])).map(b"".join),
    st.sampled_from([sharing.JSON, sharing.MSGPACK]),
)
def test_pieces_joined_are_the_same_bytes_wherever_the_marks_are(encoded: bytes, marks: Marks) -> None:
    assert b"".join(cut(encoded, marks)) == encoded


def test_what_is_small_stays_whole() -> None:
    assert Shares().divide(b'{"spec":{}}', sharing.JSON) == b'{"spec":{}}'


def test_pieces_that_are_all_different_are_forgotten() -> None:
    shares = Shares(most_bytes=4096)
    first = shares.divide(msgspec.json.encode(pod("one")), sharing.JSON)
    for number in range(10):
        shares.divide(b'{"spec":{"text":"%d%b"}}' % (number, b"x" * 1024), sharing.JSON)

    again = shares.divide(msgspec.json.encode(pod("one")), sharing.JSON)

    assert again == first
    assert not {id(piece) for piece in again} & {id(piece) for piece in first}


def record(name: str) -> Record:
    return Record(Ref("", "pods", "default", name), 7, msgspec.msgpack.encode(pod(name)))


def test_a_divided_record_reads_as_before() -> None:
    whole, divided = record("one"), record("one")
    divided.divide()

    assert divided.raw == whole.raw
    assert divided.size == whole.size
    assert divided.object == whole.object
    assert divided.json == whole.json


def test_a_record_that_was_divided_encoded_is_divided_as_json_too() -> None:
    one = record("one")
    one.divide()
    encoded = one.json

    assert len(one.pieces) > 1
    assert b"".join(one.pieces) == encoded == one.json


def test_a_record_divided_as_json_reads_as_before() -> None:
    whole, divided = record("one"), record("one")
    expected = divided.json
    divided.divide()

    assert len(divided.pieces) > 1
    assert divided.json == expected
    assert divided.size == len(expected)
    assert divided.object == whole.object
