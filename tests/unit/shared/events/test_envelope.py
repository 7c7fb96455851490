"""The message form of a revision."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StateError
from shared.events.envelope import DELETE, PUT, Author, decode, decode_object, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4).filter(lambda obj: "metadata" not in obj), st.text())
def test_an_object_comes_back_as_it_was(obj: dict[str, Any], cause: str) -> None:
    envelope = decode(encode("id", PUT, obj, Author("u", "a", "m"), cause, time=1.5))
    assert decode_object(envelope.obj) == obj
    assert (envelope.id, envelope.op, envelope.cause, envelope.time) == ("id", PUT, cause, 1.5)
    assert envelope.written_by == Author("u", "a", "m")


def test_the_revision_is_not_stored_and_the_object_is_left_alone() -> None:
    obj = {"metadata": {"name": "a", "resourceVersion": "7"}}
    envelope = decode(encode("id", DELETE, obj, Author("u")))
    assert decode_object(envelope.obj) == {"metadata": {"name": "a"}}
    assert obj["metadata"]["resourceVersion"] == "7"


def test_fields_of_a_later_writer_are_ignored() -> None:
    data = msgspec.msgpack.encode({"v": 1, "id": "x", "op": "put", "obj": {}, "new": True})
    assert decode(data).id == "x"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        msgspec.msgpack.encode({"v": 2, "id": "x", "op": "put", "obj": {}}),
        msgspec.msgpack.encode({"v": 1, "id": "x", "op": "sing", "obj": {}}),
        msgspec.msgpack.encode({"v": 1, "op": "put", "obj": {}}),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        decode(data)


def test_what_msgpack_cannot_carry_is_refused_at_the_writer() -> None:
    with pytest.raises(StateError, match="cannot be encoded"):
        encode("id", PUT, {"n": 2**70}, Author("u"))
