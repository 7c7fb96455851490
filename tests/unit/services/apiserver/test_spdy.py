"""SPDY frames, against a client's side of the codec written from the specification."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.streaming import spdy


class Client:
    """Just enough of a client: opens streams with compressed headers."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=spdy.DICTIONARY)

    def open(self, stream: int, headers: dict[str, str], *, finished: bool = False) -> bytes:
        block = struct.pack("!I", len(headers))
        for pair in headers.items():
            for text in pair:
                block += struct.pack("!I", len(text)) + text.encode()
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack("!IIBB", stream, 0, 0, 0) + packed
        return (
            struct.pack("!HHI", 0x8003, spdy.SYN_STREAM, (spdy.FIN if finished else 0) << 24 | len(payload)) + payload
        )


def test_the_dictionary_is_the_published_one() -> None:
    # the identifier that every SPDY/3 header block begins with
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_streams_open_with_their_headers_and_share_a_compression_state() -> None:
    client, session = Client(), spdy.Session()
    frames = client.open(1, {"streamType": "error", "port": "80"}, finished=True) + client.open(3, {"port": "81"})
    assert list(session.feed(frames)) == [
        spdy.Opened(1, {"streamtype": "error", "port": "80"}, True),
        spdy.Opened(3, {"port": "81"}, False),
    ]


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 50))
def test_data_arrives_whole_wherever_it_is_cut(pieces: list[bytes], size: int) -> None:
    session = spdy.Session()
    sent = b"".join(spdy.data(5, piece, finished=index == len(pieces) - 1) for index, piece in enumerate(pieces))
    events = [event for start in range(0, len(sent), size) for event in session.feed(sent[start : start + size])]
    expected = [spdy.Received(5, piece, index == len(pieces) - 1) for index, piece in enumerate(pieces)]
    assert events == expected


def test_pings_and_resets_are_understood() -> None:
    session = spdy.Session()
    assert list(session.feed(spdy.pong(7) + spdy.reset(3, spdy.CANCEL))) == [spdy.Pinged(7), spdy.Reset(3)]


def test_a_reply_can_be_read_by_a_client() -> None:
    reply = spdy.Session().reply(9)
    assert struct.unpack_from("!HH", reply) == (0x8003, spdy.SYN_REPLY)
    inflate = zlib.decompressobj(zdict=spdy.DICTIONARY)
    assert inflate.decompress(reply[12:]) == struct.pack("!I", 0)


@given(st.binary(min_size=8, max_size=200))
def test_garbage_ends_in_a_protocol_error_or_in_nothing(garbage: bytes) -> None:
    try:
        list(spdy.Session().feed(garbage))
    except spdy.ProtocolError:
        return


def test_a_frame_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(spdy.ProtocolError):
        list(spdy.Session().feed(struct.pack("!II", 1, 0xFFFFFF)))
