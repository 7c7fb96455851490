"""The two ends of a byte stream, joined by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.frames import CREDIT_STEP, PIECE, RESIZE, WINDOW, Endpoint
from shared.errors import StreamBroken


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=100)), max_size=20))
def test_data_arrives_in_order_with_its_channel(pieces: list[tuple[int, bytes]]) -> None:
    sender, receiver = Endpoint(), Endpoint()
    for channel, data in pieces:
        receiver.feed(sender.data(channel, data))
    assert [receiver.take() for _ in pieces] == pieces


def test_a_missing_frame_breaks_the_stream() -> None:
    sender, receiver = Endpoint(), Endpoint()
    sender.data(1, b"lost")
    with pytest.raises(StreamBroken, match="frame 0 is missing"):
        receiver.feed(sender.data(1, b"x"))


@pytest.mark.parametrize("frame", [b"", b"\0\0", b"\0\0\0\0\0", b"\1\0\0\0\0\0", b"\x09\0\0\0\0", b"\4\0\0\0\0\xc1"])
def test_a_malformed_frame_breaks_the_stream(frame: bytes) -> None:
    with pytest.raises(StreamBroken):
        Endpoint().feed(frame)


def test_a_sender_stops_at_the_window_and_goes_on_with_credit() -> None:
    sender, receiver = Endpoint(), Endpoint()
    sent = 0
    while room := sender.may_send(1):
        receiver.feed(sender.data(1, bytes(room)))
        sent += room
    assert sent == WINDOW
    assert receiver.credit_due() is None
    while (credit := receiver.credit_due()) is None:
        receiver.take()
    sender.feed(credit)
    assert sender.may_send(1) == min(PIECE, CREDIT_STEP)


def test_control_channels_need_no_credit() -> None:
    sender = Endpoint()
    while room := sender.may_send(0):
        sender.data(0, bytes(room))
    assert sender.may_send(RESIZE) == PIECE


def test_the_end_carries_a_status_and_a_refusal_its_reason() -> None:
    sender, receiver = Endpoint(), Endpoint()
    receiver.feed(sender.close({"status": "Success"}))
    assert receiver.peer_closed
    assert receiver.status == {"status": "Success"}
    other, refused = Endpoint(), Endpoint()
    refused.feed(other.refuse({"code": 404}))
    assert refused.refused == {"code": 404}
    assert not refused.accepted
