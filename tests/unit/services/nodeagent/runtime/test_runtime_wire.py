"""Frames between agent and keeper, however the socket cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.runtime.wire import MAX_FRAME, Unpacker, pack

messages = st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()), max_size=5)


@given(messages, st.integers(1, 20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[dict[str, object]], size: int) -> None:
    sent = [{key: value for key, value in message.items() if key != "fds"} for message in sent]
    stream = b"".join(pack(message) for message in sent)
    unpacker = Unpacker()
    received = []
    for start in range(0, len(stream), size):
        received += [message for message, _fds in unpacker.feed(stream[start : start + size], [])]
    assert received == sent


def test_descriptors_go_with_the_frame_that_claims_them() -> None:
    stream = pack({"a": 1}) + pack({"b": 2, "fds": 2}) + pack({"c": 3, "fds": 1})
    unpacker = Unpacker()
    assert list(unpacker.feed(stream, [10, 11, 12, 13])) == [
        ({"a": 1}, []),
        ({"b": 2, "fds": 2}, [10, 11]),
        ({"c": 3, "fds": 1}, [12]),
    ]
    assert unpacker.take_fds() == [13]


def test_bytes_that_are_no_text_survive_in_strings() -> None:
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")
    [(message, _fds)] = Unpacker().feed(pack({"argv": [argument]}), [])
    assert message["argv"][0].encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize("stream", [(MAX_FRAME + 1).to_bytes(4, "big"), b"\0\0\0\2[]", b"\0\0\0\1{"])
def test_a_malformed_stream_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(Unpacker().feed(stream, []))
