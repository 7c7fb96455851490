"""Blobs as chunks of a JetStream object store bucket, written and read with a bounded window.

Why not the client library's object store: its put waits for every chunk before it sends the next, its get goes through
the ordered consumer that loses messages, and it cannot read a range. The layout on the stream is the standard one
(ADR-20), so `nats object ls` and `get` understand it; the metadata adds where each chunk lies (`runs`), which makes a
range request one direct read. A blob exists from the moment its metadata message is stored, not before.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.bus.jetstream import ROLLUP, JetStream
from shared.bus.port import Bus, Message
from shared.errors import BusError, BusTimeout

BUCKET = "registry"
STREAM = f"OBJ_{BUCKET}"
CHUNKS = f"$O.{BUCKET}.C."
METADATA = f"$O.{BUCKET}.M."
CHUNK_BYTES = 512 << 10
"""Bytes of a chunk: large enough that the broker's flush to disk per message does not dominate."""
WINDOW = 8
"""Chunks on their way at a time, for each upload and each download: 4 MiB."""
BATCH = 4
OFFSET = "Wherry-Offset"
SILENCE_S = 15.0


class Run(NamedTuple):
    """`chunks` chunks of `size` bytes each at consecutive sequences from `sequence`."""

    sequence: int
    chunks: int
    size: int


class Piece(NamedTuple):
    """The part of one chunk that a range needs."""

    sequence: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A complete blob: its digest, bytes, and where its chunks are."""

    digest: str
    size: int
    object_id: str
    runs: tuple[Run, ...]
    modified: str = ""

    def pieces(self, start: int, stop: int) -> list[Piece]:
        """What to read for bytes `start` up to, not including, `stop`."""
        found: list[Piece] = []
        position = 0
        for run in self.runs:
            length = run.chunks * run.size
            if run.size and position < stop and position + length > start:
                first = max(start - position, 0) // run.size
                last = (min(stop - position, length) - 1) // run.size
                for index in range(first, last + 1):
                    begin = position + index * run.size
                    found.append(Piece(run.sequence + index, max(start - begin, 0), min(stop - begin, run.size)))
            position += length
        return found


@dataclass(slots=True)
class Layout:
    """Collects where chunks were stored, in order, as few runs as possible."""

    runs: list[Run] = field(default_factory=list)
    size: int = 0
    count: int = 0

    def add(self, sequence: int, size: int) -> None:
        """The next chunk lies at `sequence` and has `size` bytes."""
        self.size += size
        self.count += 1
        if self.runs:
            last = self.runs[-1]
            if last.size == size and last.sequence + last.chunks == sequence:
                self.runs[-1] = last._replace(chunks=last.chunks + 1)
                return
        self.runs.append(Run(sequence, 1, size))


def config(replicas: int = 1) -> dict[str, object]:
    """The bucket's stream."""
    return {
        "name": STREAM,
        "subjects": [f"$O.{BUCKET}.C.>", f"$O.{BUCKET}.M.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


class Chunks:
    """The bucket over one connection."""

    def __init__(self, bus: Bus, jetstream: JetStream) -> None:
        self._bus = bus
        self._jetstream = jetstream

    async def write(self, object_id: str, data: bytes, offset: int) -> int:
        """Store one chunk that begins at byte `offset` of its object; its sequence."""
        return await self._jetstream.publish(CHUNKS + object_id, data, {OFFSET: str(offset)}, timeout=SILENCE_S)

    async def commit(self, blob: Blob, sha256: bytes, chunks: int) -> None:
        """Make a blob visible. `sha256` is the raw hash that ADR-20 wants, whatever algorithm the digest uses."""
        document = {
            "name": blob.digest,
            "bucket": BUCKET,
            "nuid": blob.object_id,
            "size": blob.size,
            "chunks": chunks,
            "mtime": blob.modified,
            "digest": "SHA-256=" + base64.urlsafe_b64encode(sha256).decode(),
            "options": {"max_chunk_size": CHUNK_BYTES},
            "metadata": {"runs": json.dumps(blob.runs, separators=(",", ":"))},
        }
        await self._jetstream.publish(_metadata(blob.digest), json.dumps(document).encode(), {ROLLUP: "sub"})

    async def find(self, digest: str) -> Blob | None:
        """A blob by digest, None if there is no complete one."""
        stored = await self._jetstream.last_message(STREAM, _metadata(digest))
        return _blob(stored.data) if stored else None

    async def all(self) -> AsyncIterator[Blob]:
        """Every complete blob, in no particular order."""
        for subject in await self.subjects(METADATA + "*"):
            stored = await self._jetstream.last_message(STREAM, subject)
            if stored:
                yield _blob(stored.data)

    async def remove(self, blob: Blob) -> None:
        """Take a blob away: first its metadata, so that nobody sees it without its chunks."""
        await self._purge(_metadata(blob.digest))
        await self.discard(blob.object_id)

    async def discard(self, object_id: str) -> None:
        """Drop the chunks of an object that is not visible."""
        await self._purge(CHUNKS + object_id)

    async def objects(self) -> list[str]:
        """The ids of all objects that have chunks, complete or not."""
        return [subject.removeprefix(CHUNKS) for subject in await self.subjects(CHUNKS + "*")]

    async def subjects(self, pattern: str) -> list[str]:
        """Subjects of the bucket that hold messages and match the pattern."""
        found: set[str] = set()
        while True:
            request = {"subjects_filter": pattern, "offset": len(found)}
            state = (await self._jetstream.api(f"STREAM.INFO.{STREAM}", request))["state"]
            subjects = state.get("subjects") or {}
            found.update(subjects)
            if len(subjects) < 100_000:
                return sorted(found)

    async def stored(self, object_id: str) -> AsyncIterator[tuple[int, int, bytes]]:
        """(sequence, offset, data) of the chunks that an interrupted upload left, as the leader has them."""
        sequence = 1
        while (message := await self._jetstream.next_message(STREAM, CHUNKS + object_id, sequence)) is not None:
            yield message.sequence, int(message.headers.get(OFFSET, "0")), message.data
            sequence = message.sequence + 1

    async def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes `start` up to `stop`, at most WINDOW chunks ahead of the consumer. BusError if a chunk is missing."""
        pieces = blob.pieces(start, stop)
        inbox = self._bus.new_inbox()
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        subscription = await self._bus.subscribe(inbox, arrived.put_nowait)
        try:
            asked = 0
            for index, piece in enumerate(pieces):
                while asked < len(pieces) and asked - index <= WINDOW - BATCH:
                    asked += await self._ask(blob, pieces[asked : asked + BATCH], inbox)
                data = await self._next(blob, piece, arrived)
                yield data if len(data) == piece.stop - piece.start else data[piece.start : piece.stop]
        finally:
            await subscription.unsubscribe()

    async def _ask(self, blob: Blob, pieces: Sequence[Piece], inbox: str) -> int:
        """One direct read for the leading pieces that lie in a row (ADR-31, "batched requests")."""
        count = 1
        while count < len(pieces) and pieces[count].sequence == pieces[0].sequence + count:
            count += 1
        request = {"seq": pieces[0].sequence, "next_by_subj": CHUNKS + blob.object_id, "batch": count}
        await self._bus.publish(f"$JS.API.DIRECT.GET.{STREAM}", json.dumps(request).encode(), reply=inbox)
        return count

    async def _next(self, blob: Blob, piece: Piece, arrived: "asyncio.Queue[Message]") -> bytes:
        while True:
            try:
                message = await asyncio.wait_for(arrived.get(), SILENCE_S)
            except TimeoutError as exc:
                raise BusTimeout(f"chunk {piece.sequence} of blob {blob.digest} did not arrive") from exc
            headers = message.headers or {}
            if headers.get("Status") == "204":
                continue  # end of a batch
            if headers.get("Nats-Sequence") == str(piece.sequence):
                return message.data
            # a replica may lag behind the leader; the leader itself knows for certain
            stored = await self._jetstream.next_message(STREAM, CHUNKS + blob.object_id, piece.sequence)
            if stored is None or stored.sequence != piece.sequence:
                raise BusError(f"chunk {piece.sequence} of blob {blob.digest} is missing")
            return stored.data

    async def _purge(self, subject: str) -> None:
        await self._jetstream.api(f"STREAM.PURGE.{STREAM}", {"filter": subject}, timeout=60.0)


def _metadata(digest: str) -> str:
    return METADATA + base64.urlsafe_b64encode(digest.encode()).decode()


def _blob(data: bytes) -> Blob:
    document: dict[str, Any] = json.loads(data)
    runs = tuple(Run(*run) for run in json.loads(document["metadata"]["runs"]))
    return Blob(document["name"], document["size"], document["nuid"], runs, document.get("mtime", ""))
