"""The JetStream half of the fake broker: only what Wherry uses, with the error codes of nats-server 2.15."""

from __future__ import annotations

import abc
import asyncio
import base64
import json
import re
import time
from datetime import datetime
from typing import Any, NamedTuple

from shared.bus.jetstream import (
    BATCH,
    BATCH_COMMIT,
    CONSUMER_NOT_FOUND,
    EXPECTED,
    MARKER,
    NO_MESSAGE,
    ROLLUP,
    STREAM_NOT_FOUND,
    TTL,
    WRONG_LAST_SEQUENCE,
)
from shared.bus.port import Received

TICK_S = 0.05
_SECOND = 1_000_000_000
_DURATION = re.compile(r"(\d+)(h|m|s)?")
_UNITS = {"h": 3600, "m": 60, "s": 1, None: 1}


class Broker(abc.ABC):
    """What the streams need of their broker."""

    running: bool

    @abc.abstractmethod
    def route(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None: ...

    @abc.abstractmethod
    def hand(self, inbox: str, message: Received) -> None: ...


class _Stored(NamedTuple):
    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str] | None
    time: float
    expires: float


class _Refused(Exception):
    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(description)
        self.answer = {"error": {"code": code, "err_code": err_code, "description": description}}


class _Pull:
    def __init__(self, inbox: str, request: dict[str, Any], now: float) -> None:
        self.inbox = inbox
        self.left = int(request.get("batch", 1))
        self.expires = now + request.get("expires", 30 * _SECOND) / _SECOND
        self.heartbeat = request.get("idle_heartbeat", 0) / _SECOND
        self.spoke = now


class _Consumer:
    def __init__(self, name: str, stream: _Stream, config: dict[str, Any]) -> None:
        self.name = name
        self.stream = stream
        self.filters = [text.split(".") for text in config.get("filter_subjects") or [">"]]
        self.pulls: list[_Pull] = []
        self.delivered = 0
        self.headers_only = bool(config.get("headers_only"))
        self.queue: list[int] = []
        policy = config.get("deliver_policy", "all")
        wanted = [stored for stored in stream.messages.values() if self.wants(stored.subject)]
        if policy == "last_per_subject":
            last = {stored.subject: stored.sequence for stored in wanted}
            self.queue = sorted(last.values())
        elif policy == "by_start_sequence":
            self.queue = [stored.sequence for stored in wanted if stored.sequence >= config["opt_start_seq"]]
        elif policy == "by_start_time":
            since = datetime.fromisoformat(config["opt_start_time"]).timestamp()
            self.queue = [stored.sequence for stored in wanted if stored.time >= since]
        elif policy == "all":
            self.queue = [stored.sequence for stored in wanted]

    def wants(self, subject: str) -> bool:
        tokens = subject.split(".")
        return any(fits(pattern, tokens) for pattern in self.filters)


class _Stream:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.messages: dict[int, _Stored] = {}
        self.by_subject: dict[str, list[int]] = {}
        self.last = 0
        self.consumers: dict[str, _Consumer] = {}

    def captures(self, tokens: list[str]) -> bool:
        return any(fits(pattern.split("."), tokens) for pattern in self.config.get("subjects", ()))

    def check(self, subject: str, headers: dict[str, str]) -> None:
        if EXPECTED in headers:
            sequences = self.by_subject.get(subject)
            actual = sequences[-1] if sequences else 0
            if actual != int(headers[EXPECTED]):
                raise _Refused(400, WRONG_LAST_SEQUENCE, f"wrong last sequence: {actual}")

    def store(self, subject: str, data: bytes, headers: dict[str, str] | None) -> int:
        now = time.time()
        if headers and headers.get(ROLLUP) == "sub":
            for sequence in list(self.by_subject.get(subject, ())):
                self.remove(sequence)
        expires = now + seconds(headers[TTL]) if headers and TTL in headers else 0.0
        if not expires and self.config.get("max_age"):
            expires = now + self.config["max_age"] / _SECOND
        self.last += 1
        self.messages[self.last] = _Stored(subject, self.last, data, headers, now, expires)
        sequences = self.by_subject.setdefault(subject, [])
        sequences.append(self.last)
        limit = self.config.get("max_msgs_per_subject", -1)
        while 0 < limit < len(sequences):
            self.remove(sequences[0])
        for consumer in self.consumers.values():
            if consumer.wants(subject):
                consumer.queue.append(self.last)
        return self.last

    def remove(self, sequence: int) -> _Stored:
        stored = self.messages.pop(sequence)
        sequences = self.by_subject[stored.subject]
        sequences.remove(sequence)
        if not sequences:
            del self.by_subject[stored.subject]
        return stored

    def expire(self) -> bool:
        now = time.time()
        gone = [stored.sequence for stored in self.messages.values() if stored.expires and stored.expires <= now]
        marker = self.config.get("subject_delete_marker_ttl")
        for sequence in gone:
            stored = self.remove(sequence)
            was_marker = stored.headers is not None and MARKER in stored.headers
            if marker and stored.subject not in self.by_subject and not was_marker:
                headers = {MARKER: "MaxAge", TTL: f"{marker // _SECOND}s", ROLLUP: "sub"}
                self.store(stored.subject, b"", headers)
        return bool(gone)


class FakeJetStream:
    """Answers `$JS.API.>` and captures the subjects of its streams."""

    def __init__(self, broker: Broker) -> None:
        self.stopped = asyncio.Event()
        self._broker = broker
        self._streams: dict[str, _Stream] = {}
        self._batches: dict[str, list[Received]] = {}

    async def keep_time(self) -> None:
        """Expire messages, end pull requests and send heartbeats until `stopped`."""
        while not self.stopped.is_set():
            try:
                async with asyncio.timeout(TICK_S):
                    await self.stopped.wait()
            except TimeoutError:
                if self._broker.running:
                    for stream in self._streams.values():
                        stream.expire()
                        for consumer in stream.consumers.values():
                            self._pump(consumer)

    def forget_consumers(self) -> None:
        for stream in self._streams.values():
            stream.consumers.clear()
        self._batches.clear()

    def handle(self, message: Received) -> bool:
        """Whether the message was one for JetStream."""
        if message.subject.startswith("$JS.API."):
            return self._answer(message)
        tokens = message.subject.split(".")
        stream = next((stream for stream in self._streams.values() if stream.captures(tokens)), None)
        if stream is None:
            return False
        try:
            ack = self._store(stream, message)
        except _Refused as exc:
            ack = {**exc.answer, "stream": stream.config["name"], "seq": 0}
        if ack is not None and message.reply and not stream.config.get("no_ack"):
            self._reply(message.reply, ack)
        for consumer in list(stream.consumers.values()):
            self._pump(consumer)
        return True

    def _store(self, stream: _Stream, message: Received) -> dict[str, Any] | None:
        headers = message.headers or {}
        name = stream.config["name"]
        batch = headers.get(BATCH)
        if batch is None:
            stream.check(message.subject, headers)
            return {"stream": name, "seq": stream.store(message.subject, message.data, message.headers)}
        members = self._batches.setdefault(batch, [])
        members.append(message)
        if BATCH_COMMIT not in headers:
            return None
        del self._batches[batch]
        for member in members:
            stream.check(member.subject, member.headers or {})
        last = 0
        for member in members:
            last = stream.store(member.subject, member.data, member.headers)
        return {"stream": name, "seq": last, "batch": batch, "count": len(members)}

    def _answer(self, message: Received) -> bool:
        verb = message.subject.removeprefix("$JS.API.")
        request = json.loads(message.data) if message.data else {}
        try:
            answer = self._perform(verb, request, message.reply)
        except _Refused as exc:
            answer = exc.answer
        if answer is not None and message.reply:
            self._reply(message.reply, answer)
        return True

    def _perform(self, verb: str, request: dict[str, Any], reply: str) -> dict[str, Any] | None:
        parts = verb.split(".")
        match parts:
            case ["STREAM", "CREATE" | "UPDATE", name]:
                stream = self._streams.get(name)
                if stream is None:
                    stream = self._streams[name] = _Stream(request)
                stream.config = request
                return self._info(stream)
            case ["STREAM", "INFO", name]:
                return self._info(self._stream(name))
            case ["STREAM", "MSG", "GET", name]:
                return {"message": self._find(self._stream(name), request)}
            case ["STREAM", "PURGE", name]:
                return {"success": True, "purged": self._purge(self._stream(name), request)}
            case ["CONSUMER", "CREATE", name, consumer_name, *_]:
                stream = self._stream(name)
                consumer = stream.consumers[consumer_name] = _Consumer(consumer_name, stream, request["config"])
                return {"stream_name": name, "name": consumer_name, "num_pending": len(consumer.queue)}
            case ["CONSUMER", "DELETE", name, consumer_name]:
                self._stream(name).consumers.pop(consumer_name, None)
                return {"success": True}
            case ["CONSUMER", "MSG", "NEXT", name, consumer_name]:
                found = self._stream(name).consumers.get(consumer_name)
                if found is None:
                    self._broker.route(reply, "", b"", {"Status": "503"})
                    return None
                found.pulls.append(_Pull(reply, request, time.monotonic()))
                self._pump(found)
                return None
        raise _Refused(404, CONSUMER_NOT_FOUND, f"the fake broker does not know {verb}")

    def _stream(self, name: str) -> _Stream:
        try:
            return self._streams[name]
        except KeyError:
            raise _Refused(404, STREAM_NOT_FOUND, "stream not found") from None

    def _info(self, stream: _Stream) -> dict[str, Any]:
        first = min(stream.messages, default=stream.last + 1)
        state = {"messages": len(stream.messages), "first_seq": first, "last_seq": stream.last}
        return {"config": stream.config, "state": state}

    def _purge(self, stream: _Stream, request: dict[str, Any]) -> int:
        gone = [sequence for sequence in stream.by_subject.get(request["filter"], ()) if sequence < request["seq"]]
        for sequence in gone:
            stream.remove(sequence)
        return len(gone)

    def _find(self, stream: _Stream, request: dict[str, Any]) -> dict[str, Any]:
        if request.keys() == {"seq"}:
            return self._found(stream.messages.get(request["seq"]))
        subject = request.get("last_by_subj") or request["next_by_subj"]
        sequences = stream.by_subject.get(subject, [])
        if "next_by_subj" in request:
            sequences = [sequence for sequence in sequences if sequence >= request["seq"]][:1]
        return self._found(stream.messages[sequences[-1]] if sequences else None)

    def _found(self, stored: _Stored | None) -> dict[str, Any]:
        if stored is None:
            raise _Refused(404, NO_MESSAGE, "no message found")
        raw = "NATS/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in (stored.headers or {}).items()) + "\r\n"
        return {
            "subject": stored.subject,
            "seq": stored.sequence,
            "data": base64.b64encode(stored.data).decode(),
            "hdrs": base64.b64encode(raw.encode()).decode(),
        }

    def _pump(self, consumer: _Consumer) -> None:
        now = time.monotonic()
        stream = consumer.stream
        consumer.queue = [sequence for sequence in consumer.queue if sequence in stream.messages]
        while consumer.queue and consumer.pulls:
            pull = consumer.pulls[0]
            stored = stream.messages[consumer.queue.pop(0)]
            consumer.delivered += 1
            pull.left -= 1
            pull.spoke = now
            if pull.left == 0:
                consumer.pulls.pop(0)
            reply = (
                f"$JS.ACK.{stream.config['name']}.{consumer.name}.1.{stored.sequence}.{consumer.delivered}"
                f".{int(stored.time * _SECOND)}.{len(consumer.queue)}"
            )
            self._deliver(pull.inbox, stored._replace(data=b"") if consumer.headers_only else stored, reply)
        for pull in list(consumer.pulls):
            if pull.expires <= now:
                consumer.pulls.remove(pull)
                self._broker.route(pull.inbox, "", b"", {"Status": "408", "Nats-Pending-Messages": str(pull.left)})
            elif pull.heartbeat and now - pull.spoke >= pull.heartbeat:
                pull.spoke = now
                status = {"Status": "100", "Nats-Last-Consumer": str(consumer.delivered)}
                self._broker.route(pull.inbox, "", b"", status)

    def _deliver(self, inbox: str, stored: _Stored, reply: str) -> None:
        self._broker.hand(inbox, Received(stored.subject, reply, stored.data, stored.headers))

    def _reply(self, inbox: str, answer: dict[str, Any]) -> None:
        self._broker.route(inbox, "", json.dumps(answer).encode(), None)


def fits(pattern: list[str], subject: list[str]) -> bool:
    """Whether the tokens of a subject fit those of a pattern with `*` and `>`."""
    for index, token in enumerate(pattern):
        if token == ">":
            return len(subject) > index
        if index >= len(subject) or token not in ("*", subject[index]):
            return False
    return len(pattern) == len(subject)


def seconds(text: str) -> float:
    """A time to live as JetStream reads it: `90s`, `1h`, or a bare number of seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise _Refused(400, 10165, "invalid per-message TTL")
    return float(match.group(1)) * _UNITS[match.group(2)]
