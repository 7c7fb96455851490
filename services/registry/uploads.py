"""Blob uploads: bytes go to the bucket while they arrive, the digest is computed on the way.

Why an upload survives the process: its chunks and its key are in JetStream, so a restarted registry (or another
replica) reads the chunks once to bring the hash up to date, and the client continues where it was.
Source: OCI distribution spec v1.1, "Pushing blobs".
"""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.registry.chunks import CHUNK_BYTES, WINDOW, Blob, Chunks, Layout
from services.registry.failures import RegistryFailure
from services.registry.keys import Keys, key
from shared.images import digests

IDLE_S = 3600.0
"""An upload that nobody touched for so long leaves the memory of this process; its chunks stay until the sweep."""


@dataclass(slots=True)
class Upload:
    """One upload in progress. `offset` is the number of bytes stored so far."""

    id: str
    repository: str
    layout: Layout = field(default_factory=Layout)
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    touched: float = field(default_factory=time.monotonic)

    @property
    def offset(self) -> int:
        return self.layout.size

    def blob(self, digest: str) -> Blob:
        """The blob that this upload becomes."""
        stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return Blob(digest, self.offset, self.id, tuple(self.layout.runs), stamp)


class Uploads:
    """All uploads of this process."""

    def __init__(self, keys: Keys, chunks: Chunks) -> None:
        self._keys = keys
        self._chunks = chunks
        self._open: dict[str, Upload] = {}

    async def start(self, repository: str) -> Upload:
        """Begin an upload."""
        now = time.monotonic()
        for idle in [u for u in self._open.values() if now - u.touched > IDLE_S]:
            del self._open[idle.id]
        upload = Upload(str(uuid.uuid4()), repository)
        started = json.dumps({"repository": repository, "started": time.time()})
        await self._keys.put(key("u", upload.id), started.encode())
        self._open[upload.id] = upload
        return upload

    async def find(self, repository: str, upload_id: str) -> Upload:
        """An upload of this repository, restored from the bucket if this process does not know it."""
        upload = self._open.get(upload_id)
        if upload is None:
            upload = await self._restore(upload_id)
        if upload is None or upload.repository != repository:
            raise RegistryFailure("BLOB_UPLOAD_UNKNOWN", f"no upload {upload_id} in repository {repository}")
        upload.touched = time.monotonic()
        return upload

    async def append(self, upload: Upload, body: AsyncIterator[bytes], start: int | None = None) -> None:
        """Store the bytes of `body`. `start` is the offset the client believes to be at, None if it does not say."""
        async with upload.lock:
            if start is not None and start != upload.offset:
                here = {"Range": f"0-{max(upload.offset - 1, 0)}", "Docker-Upload-UUID": upload.id}
                message = f"upload {upload.id} is at byte {upload.offset}, not {start}"
                raise RegistryFailure("RANGE_INVALID", message, here)
            try:
                await self._store(upload, body)
            except BaseException:
                # what is in the bucket is certain, what this process thinks of it is not any more
                self._open.pop(upload.id, None)
                raise

    async def finish(self, upload: Upload, digest: str) -> Blob:
        """Verify the upload against `digest` and make it a blob. DIGEST_INVALID ends the upload."""
        async with upload.lock:
            actual = await self._digest(upload, digests.algorithm_of(digest))
            if actual != digest:
                await self._drop(upload)
                raise RegistryFailure("DIGEST_INVALID", f"uploaded bytes have digest {actual}, not {digest}")
            blob = await self._chunks.find(digest)
            if blob is not None:
                # it may be this upload's own: a client that got no answer asks again
                if blob.object_id != upload.id:
                    await self._chunks.discard(upload.id)
            else:
                blob = upload.blob(digest)
                await self._chunks.commit(blob, upload.sha256.digest(), upload.layout.count)
            await self._keys.put(key("b", upload.repository, digest), b"")
            await self._keys.delete(key("u", upload.id))
            self._open.pop(upload.id, None)
            return blob

    async def cancel(self, upload: Upload) -> None:
        """Give an upload up."""
        async with upload.lock:
            await self._drop(upload)

    async def _digest(self, upload: Upload, algorithm: str) -> str:
        if algorithm == "sha256":
            return f"sha256:{upload.sha256.hexdigest()}"
        # only the end tells the algorithm, and hardly anyone asks for another one: then the chunks are read again
        hasher = digests.hasher(algorithm)
        async for data in self._chunks.read(upload.blob(""), 0, upload.offset):
            hasher.update(data)
        return f"{algorithm}:{hasher.hexdigest()}"

    async def _drop(self, upload: Upload) -> None:
        self._open.pop(upload.id, None)
        await self._chunks.discard(upload.id)
        await self._keys.delete(key("u", upload.id))

    async def _store(self, upload: Upload, body: AsyncIterator[bytes]) -> None:
        window = asyncio.Semaphore(WINDOW)
        offset = upload.offset
        sequences: list[asyncio.Task[int]] = []
        sizes: list[int] = []

        async def write(data: bytes, at: int) -> int:
            try:
                return await self._chunks.write(upload.id, data, at)
            finally:
                window.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for data in _chunked(body):
                    await window.acquire()
                    upload.sha256.update(data)
                    sizes.append(len(data))
                    sequences.append(group.create_task(write(data, offset), name=f"chunk {upload.id} at {offset}"))
                    offset += len(data)
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None  # what one chunk met, the others met too
        for task, size in zip(sequences, sizes, strict=True):
            upload.layout.add(task.result(), size)

    async def _restore(self, upload_id: str) -> Upload | None:
        if not _is_uuid(upload_id) or (value := await self._keys.get(key("u", upload_id))) is None:
            return None
        upload = Upload(upload_id, json.loads(value.data)["repository"])
        async for sequence, offset, data in self._chunks.stored(upload_id):
            if offset != upload.offset:
                # chunks of one window are sent together; after a crash a later one may be there without an earlier
                continue
            upload.sha256.update(data)
            upload.layout.add(sequence, len(data))
        return self._open.setdefault(upload_id, upload)


async def _chunked(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Regroup a body into chunks of CHUNK_BYTES; only the last may be shorter."""
    parts: list[bytes] = []
    have = 0
    async for data in body:
        view = memoryview(data)
        while view:
            taken = view[: CHUNK_BYTES - have]
            parts.append(bytes(taken))
            have += len(taken)
            view = view[len(taken) :]
            if have == CHUNK_BYTES:
                yield b"".join(parts)
                parts, have = [], 0
    if have:
        yield b"".join(parts)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
