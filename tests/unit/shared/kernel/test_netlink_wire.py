from __future__ import annotations

import errno
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.netlink import Message, wire
from shared.kernel.netlink.connection import error_of
from shared.kernel.netlink.wire import Reply

payloads = st.binary(max_size=64)


@given(st.lists(st.tuples(st.integers(1, 1000), payloads)))
def test_attributes_survive_encoding(items: list[tuple[int, bytes]]) -> None:
    encoded = b"".join(wire.attribute(kind, payload) for kind, payload in items)
    assert len(encoded) % 4 == 0
    assert list(wire.attributes(encoded)) == items


@given(st.lists(payloads, max_size=8))
def test_messages_survive_encoding(bodies: list[bytes]) -> None:
    encoded = b"".join(wire.encode(Message(7, 0, body), number, 0) for number, body in enumerate(bodies))
    assert [(reply.sequence, reply.body) for reply in wire.decode(encoded)] == list(enumerate(bodies))


@given(st.binary(max_size=200))
def test_anything_is_decoded_without_an_endless_loop(data: bytes) -> None:
    list(wire.decode(data))
    list(wire.attributes(data))


def test_an_attribute_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        wire.attribute(3, bytes(70000))


def test_the_kernels_own_words_are_the_error() -> None:
    header = bytes(wire.HEADER_SIZE)
    code = (-errno.EEXIST).to_bytes(4, sys.byteorder, signed=True)
    packet = header + code + header + wire.text(1, "it is there already")
    failure = error_of(Reply(wire.TYPE_ERROR, wire.F_ACK_ATTRIBUTES, 1, packet))
    assert failure is not None
    assert (failure.errno, failure.strerror) == (errno.EEXIST, "it is there already")
    assert error_of(Reply(wire.TYPE_ERROR, 0, 1, bytes(36))) is None
