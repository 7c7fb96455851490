"""Messages of WebSocket clients that can neither send nor receive bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.streaming.pipes import from_base64, to_base64


@given(st.integers(0, 9), st.binary(max_size=100))
def test_a_message_is_the_same_after_both_ways(channel: int, data: bytes) -> None:
    message = bytes((channel,)) + data
    text = to_base64(message)
    assert text[0] == str(channel)
    assert from_base64(text.encode()) == message


@pytest.mark.parametrize("data", [b"", b"0a", b"0***", b"-aa=="])
def test_what_is_no_message_is_nothing(data: bytes) -> None:
    assert from_base64(data) == b""
