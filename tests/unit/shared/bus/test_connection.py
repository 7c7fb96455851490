"""The commands that the connection puts on the wire (NATS protocol, ADR-4)."""

from __future__ import annotations

import pytest

from shared.bus.connection import encode
from shared.errors import BusError


def test_a_message_without_headers_is_a_pub() -> None:
    assert encode("a.b", b"data", None, "") == b"PUB a.b 4\r\ndata\r\n"
    assert encode("a.b", b"", {}, "inbox") == b"PUB a.b inbox 0\r\n\r\n"


def test_headers_are_counted_apart_from_the_data() -> None:
    block = b"NATS/1.0\r\nA: 1\r\nB: x y\r\n\r\n"
    expected = b"HPUB s r %d %d\r\n%bdata\r\n" % (len(block), len(block) + 4, block)
    assert encode("s", b"data", {"A": "1", "B": "x y"}, "r") == expected


def test_lengths_are_bytes() -> None:
    block = "NATS/1.0\r\nA: ä\r\n\r\n".encode()
    assert encode("s", b"", {"A": "ä"}, "") == b"HPUB s %d %d\r\n%b\r\n" % (len(block), len(block), block)


@pytest.mark.parametrize(("subject", "reply"), [("", ""), ("a b", ""), ("a\r\nPUB b", ""), ("a", "r\n")])
def test_a_subject_cannot_break_out_of_its_line(subject: str, reply: str) -> None:
    with pytest.raises(BusError, match="invalid subject"):
        encode(subject, b"", None, reply)


def test_a_header_cannot_break_out_of_its_line() -> None:
    with pytest.raises(BusError, match="more than one line"):
        encode("a", b"", {"A": "1\r\nNats-Rollup: all"}, "")
