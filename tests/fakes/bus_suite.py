"""What every adapter of the bus must do; subclassed with a `broker` fixture for the fake and for nats-server."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from shared.bus.consumer import Delivery, PullConsumer
from shared.bus.jetstream import EXPECTED, MARKER, ROLLUP, TTL, JetStream, Outgoing
from shared.bus.port import MORE, Message
from shared.errors import BrokerError, BusError, BusTimeout, Disconnected, NoResponders, RevisionConflict
from tests.fakes.brokers import TestBroker, running, wait_for

STREAM = {
    "name": "TEST",
    "subjects": ["t.>"],
    "storage": "file",
    "max_msgs_per_subject": 5,
    "allow_msg_ttl": True,
    "allow_rollup_hdrs": True,
    "allow_atomic": True,
}


class CoreSuite:
    """Messages and calls."""

    async def test_a_message_reaches_every_subscriber_of_a_matching_subject(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[str] = []
        for pattern in ("a.*.c", "a.>", "a.b"):
            await bus.subscribe(pattern, lambda message, pattern=pattern: got.append(f"{pattern} {message.subject}"))
        await bus.publish("a.b.c", b"x")
        await wait_for(lambda: len(got) == 2)
        assert sorted(got) == ["a.*.c a.b.c", "a.> a.b.c"]

    async def test_a_member_of_a_queue_group_gets_a_message_alone(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[bytes] = []
        for _ in range(3):
            await bus.subscribe("work", lambda message: got.append(message.data), queue="workers")
        for number in range(20):
            await bus.publish("work", b"%d" % number)
        await wait_for(lambda: len(got) >= 20)
        assert sorted(got) == sorted(b"%d" % number for number in range(20))

    async def test_callbacks_of_a_subscription_run_in_order_also_when_they_wait(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[int] = []

        async def slow(message: Message) -> None:
            await asyncio.sleep(0)
            got.append(int(message.data))

        await bus.subscribe("numbers", slow)
        for number in range(50):
            await bus.publish("numbers", b"%d" % number)
        await wait_for(lambda: len(got) == 50)
        assert got == list(range(50))

    async def test_a_failing_callback_does_not_end_the_subscription(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[bytes] = []

        def fragile(message: Message) -> None:
            got.append(message.data)
            raise ValueError("on purpose")

        await bus.subscribe("x", fragile)
        await bus.publish("x", b"1")
        await bus.publish("x", b"2")
        await wait_for(lambda: got == [b"1", b"2"])

    async def test_a_request_is_answered(self, broker: TestBroker) -> None:
        bus = await broker.connect()

        async def answer(message: Message) -> None:
            await bus.publish(message.reply, message.data)

        await bus.subscribe("echo", answer)
        assert await bus.request("echo", {"n": 1}) == {"n": 1}

    async def test_a_long_answer_comes_in_parts(self, broker: TestBroker) -> None:
        bus = await broker.connect()

        async def answer(message: Message) -> None:
            data = msgspec.msgpack.encode("x" * 1000)
            await bus.publish(message.reply, data[:400], {MORE: "1"})
            await bus.publish(message.reply, data[400:])

        await bus.subscribe("long", answer)
        assert await bus.request("long", None) == "x" * 1000

    async def test_a_call_that_nobody_answers_times_out(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        await bus.subscribe("silent", lambda message: None)
        with pytest.raises(BusTimeout, match="silent"):
            await bus.call("silent", timeout=0.05)

    async def test_a_call_without_subscriber_fails_at_once(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        with pytest.raises(NoResponders, match="nowhere"):
            await bus.call("nowhere", timeout=60)

    async def test_an_unsubscribed_callback_hears_nothing_more(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[bytes] = []
        subscription = await bus.subscribe("x", lambda message: got.append(message.data))
        await subscription.unsubscribe()
        other: list[bytes] = []
        await bus.subscribe("x", lambda message: other.append(message.data))
        await bus.publish("x", b"1")
        await wait_for(lambda: other == [b"1"])
        assert got == []

    async def test_a_posted_message_arrives(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[bytes] = []
        await bus.subscribe("x", lambda message: got.append(message.data))
        bus.post("x", b"1")
        await wait_for(lambda: got == [b"1"])

    async def test_a_malformed_subject_is_refused(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        with pytest.raises(BusError, match="a b"):
            await bus.publish("a b")

    async def test_a_message_above_the_limit_is_refused(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        with pytest.raises(BusError, match="more than the broker takes"):
            await bus.publish("x", bytes((8 << 20) + 1))

    async def test_nothing_is_sent_or_kept_while_the_broker_is_away(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        got: list[bytes] = []
        await bus.subscribe("x", lambda message: got.append(message.data))
        await broker.kill()
        with pytest.raises(Disconnected):
            await bus.publish("x", b"lost")
        with pytest.raises(Disconnected) as caught:
            await bus.call("x", b"lost")
        assert not caught.value.sent
        await broker.start()
        await bus.publish("x", b"kept")
        await wait_for(lambda: got == [b"kept"])

    async def test_a_call_under_way_fails_when_the_broker_dies(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        asked = asyncio.Event()
        await bus.subscribe("silent", lambda message: asked.set())
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_outcome(bus.call("silent", timeout=300)), name="call")
            await asked.wait()
            await broker.kill()
            outcome = await call
        assert isinstance(outcome, Disconnected)
        assert outcome.sent

    async def test_listeners_hear_of_the_connection(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        heard: list[bool] = []
        remove = bus.on_connection(heard.append)
        await broker.kill()
        await broker.start()
        assert heard == [False, True]
        remove()


class StreamSuite:
    """Streams, compare-and-set, consumers."""

    async def test_compare_and_set_names_the_actual_sequence(self, broker: TestBroker) -> None:
        jetstream = JetStream(await broker.connect())
        await jetstream.ensure_stream(STREAM)
        assert await jetstream.publish("t.a", b"1", {EXPECTED: "0"}) == 1
        assert await jetstream.publish("t.a", b"2", {EXPECTED: "1"}) == 2
        with pytest.raises(RevisionConflict) as caught:
            await jetstream.publish("t.a", b"3", {EXPECTED: "1"})
        assert caught.value.actual == 2

    async def test_a_batch_is_stored_whole_or_not_at_all(self, broker: TestBroker) -> None:
        jetstream = JetStream(await broker.connect())
        await jetstream.ensure_stream(STREAM)
        await jetstream.publish("t.b", b"1")
        batch = [Outgoing(f"t.{name}", b"x", {EXPECTED: "0"}) for name in "xyz"]
        assert await jetstream.publish_batch(batch) == 4
        with pytest.raises(RevisionConflict):
            await jetstream.publish_batch(
                [Outgoing("t.new", b"x", {EXPECTED: "0"}), Outgoing("t.b", b"x", {EXPECTED: "0"})]
            )
        assert await jetstream.last_message("TEST", "t.new") is None

    async def test_a_rollup_leaves_one_message(self, broker: TestBroker) -> None:
        jetstream = JetStream(await broker.connect())
        await jetstream.ensure_stream(STREAM)
        for number in range(3):
            await jetstream.publish("t.a", b"%d" % number)
        await jetstream.publish("t.a", b"last", {ROLLUP: "sub", EXPECTED: "3"})
        found = await jetstream.next_message("TEST", "t.a", 1)
        assert found is not None
        assert (found.sequence, found.data) == (4, b"last")

    async def test_single_messages_are_read_with_their_headers(self, broker: TestBroker) -> None:
        jetstream = JetStream(await broker.connect())
        await jetstream.ensure_stream(STREAM)
        await jetstream.publish("t.a", b"1", {"X-Note": "first"})
        await jetstream.publish("t.a", b"2")
        first = await jetstream.next_message("TEST", "t.a", 0)
        last = await jetstream.last_message("TEST", "t.a")
        assert first is not None
        assert last is not None
        assert (first.data, first.headers["X-Note"], last.data) == (b"1", "first", b"2")
        assert await jetstream.next_message("TEST", "t.a", 3) is None

    async def test_an_unknown_stream_is_an_error_with_its_code(self, broker: TestBroker) -> None:
        jetstream = JetStream(await broker.connect())
        with pytest.raises(BrokerError) as caught:
            await jetstream.stream_info("NONE")
        assert caught.value.code == 10059

    async def test_an_expired_message_leaves_a_marker(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        jetstream = JetStream(bus)
        await jetstream.ensure_stream(
            {
                "name": "LEASES",
                "subjects": ["lease.>"],
                "storage": "file",
                "max_msgs_per_subject": 1,
                "allow_msg_ttl": True,
                "allow_rollup_hdrs": True,
                "subject_delete_marker_ttl": 5_000_000_000,
            }
        )
        got: list[Delivery] = []
        consumer = PullConsumer(bus, "LEASES", ["lease.>"], "last_per_subject", got.append)
        async with running(consumer.run()):
            await jetstream.publish("lease.a", b"mine", {TTL: "1s"})
            await wait_for(lambda: len(got) == 2)
        assert [MARKER in (delivery.headers or {}) for delivery in got] == [False, True]

    async def test_a_consumer_gets_the_last_of_each_subject_and_then_everything(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        jetstream = JetStream(bus)
        await jetstream.ensure_stream(STREAM)
        for number in range(10):
            await jetstream.publish(f"t.{number % 2}", b"%d" % number)
        got: list[Delivery] = []
        waiting: list[int] = []
        consumer = PullConsumer(bus, "TEST", ["t.0", "t.1", "t.2"], "last_per_subject", got.append)
        async with running(consumer.run(waiting.append)):
            await wait_for(lambda: len(got) == 2)
            await jetstream.publish("t.2", b"new")
            await jetstream.publish("t.3", b"not wanted")
            await jetstream.publish("t.0", b"newer")
            await wait_for(lambda: len(got) == 4)
        assert waiting == [2]
        assert [(delivery.sequence, delivery.data) for delivery in got] == [
            (9, b"8"),
            (10, b"9"),
            (11, b"new"),
            (13, b"newer"),
        ]
        assert got[1].pending == 0

    async def test_a_consumer_gets_more_than_one_request_full(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        jetstream = JetStream(bus)
        await jetstream.ensure_stream({**STREAM, "max_msgs_per_subject": -1})
        for _ in range(5):
            await jetstream.publish_batch([Outgoing("t.a", b"x", {}) for _ in range(1000)])
        got: list[int] = []
        consumer = PullConsumer(bus, "TEST", ["t.>"], 1, lambda delivery: got.append(delivery.sequence))
        async with running(consumer.run()):
            await wait_for(lambda: len(got) == 5000)
        assert got == list(range(1, 5001))

    async def test_a_consumer_notices_that_the_broker_died(self, broker: TestBroker) -> None:
        bus = await broker.connect()
        jetstream = JetStream(bus)
        await jetstream.ensure_stream(STREAM)
        created = asyncio.Event()
        consumer = PullConsumer(bus, "TEST", ["t.>"], "new", lambda delivery: None)
        async with asyncio.TaskGroup() as group:
            run = group.create_task(consumer.run(lambda pending: created.set()), name="consumer")
            await created.wait()
            await broker.kill()
            assert await run == "connection lost"
        await broker.start()
        assert (await jetstream.stream_info("TEST"))["state"]["messages"] == 0


async def _outcome(awaitable: object) -> object:
    try:
        return await awaitable  # type: ignore[misc]
    except BusError as exc:
        return exc
