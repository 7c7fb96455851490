"""Messages reach plain functions whole and in order, however the bytes are cut."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.parsing import DirectParser, received
from shared.bus.port import Message


class Client:
    """The parts of the client library that a parser calls."""

    def __init__(self) -> None:
        self.parser = DirectParser(self)  # type: ignore[arg-type]
        self.log: list[Any] = []
        self.parser.direct[1] = lambda message: self.note("direct", message)

    def note(self, how: str, message: Message) -> None:
        self.log.append((how, message.subject, message.reply, message.data, message.headers))

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self.note("direct" if sid == 1 else "queued", received(subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.log.append("ping")

    async def _process_err(self, text: str) -> None:
        self.log.append(text)


ONE = st.tuples(st.sampled_from([1, 2]), st.sampled_from(["", "_INBOX.x.1"]), st.binary(max_size=200), st.booleans())
OTHER = st.sampled_from([b"PING\r\n", b"+OK\r\n", b"-ERR 'Slow Consumer'\r\n"])


def command(number: int, reply: str, data: bytes, has_headers: bool) -> tuple[bytes, Any]:
    how = "direct" if number == 1 else "queued"
    address = f"s.t {number} {reply} ".replace("  ", " ").encode()
    if not has_headers:
        return b"MSG %b%d\r\n%b\r\n" % (address, len(data), data), (how, "s.t", reply, data, None)
    head = b"NATS/1.0\r\nA: b\r\n\r\n"
    sizes = b"%d %d" % (len(head), len(head) + len(data))
    return b"HMSG %b%b\r\n%b%b\r\n" % (address, sizes, head, data), (how, "s.t", reply, data, {"A": "b"})


@given(st.lists(st.one_of(ONE, OTHER), max_size=20), st.lists(st.integers(1, 300), max_size=40))
def test_messages_come_in_order_however_the_bytes_are_cut(commands: list[Any], cuts: list[int]) -> None:
    client = Client()
    text, expected = b"", []
    for one in commands:
        if isinstance(one, bytes):
            text += one
            expected += {b"P": ["ping"], b"+": [], b"-": ["'slow consumer'"]}[one[:1]]
        else:
            encoded, message = command(*one)
            text += encoded
            expected.append(message)

    async def feed() -> None:
        rest = text
        for cut in cuts:
            await client.parser.parse(rest[:cut])
            rest = rest[cut:]
        await client.parser.parse(rest)

    asyncio.run(feed())
    assert client.log == expected


async def test_a_large_message_is_collected_by_the_library() -> None:
    client = Client()
    data = bytes(300_000)
    text, message = command(1, "", data, True)
    for start in range(0, len(text), 32768):
        await client.parser.parse(text[start : start + 32768])
    assert client.log == [message]


async def test_the_status_of_a_message_of_the_broker_is_among_its_headers() -> None:
    client = Client()
    for head in (b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n"):
        await client.parser.parse(b"HMSG s.t 1 %d %d\r\n%b\r\n" % (len(head), len(head), head))
    assert [entry[4] for entry in client.log] == [
        {"Status": "503"},
        {"Status": "100", "Description": "Idle Heartbeat", "Nats-Last-Consumer": "7"},
    ]


async def test_a_new_connection_begins_anew() -> None:
    client = Client()
    await client.parser.parse(b"MSG s.t 1 5\r\nab")
    client.parser.reset()
    text, message = command(1, "", b"whole", False)
    await client.parser.parse(text)
    assert client.log == [message]
