"""Garbage collection: blobs that no manifest needs, and what interrupted uploads left.

Why with a grace period and no lock: a push uploads blobs before the manifest that needs them, so only what has been
unreferenced for a long time goes; everything here may be interrupted anywhere and done again.
"""

import json
import logging
import time
from dataclasses import dataclass
from datetime import datetime

from services.registry.chunks import Chunks
from services.registry.keys import CONTENT_TYPE, Keys, key, part
from services.registry.repositories import Repositories
from shared.images import manifests
from shared.images.errors import ImageError
from shared.images.manifests import Manifest

log = logging.getLogger(__name__)
GRACE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Swept:
    """How much went: blob links of repositories, blobs, and abandoned uploads."""

    links: int
    blobs: int
    uploads: int


class Sweep:
    """One pass over both buckets."""

    def __init__(self, keys: Keys, chunks: Chunks, repositories: Repositories, grace: float = GRACE_S) -> None:
        self._keys = keys
        self._chunks = chunks
        self._repositories = repositories
        self._grace = grace

    async def run(self) -> Swept:
        """Remove what is unreferenced and older than the grace period (seconds)."""
        needed, unread = await self._needed()
        ages = {blob.digest: time.time() - _stamp(blob.modified) async for blob in self._chunks.all()}
        links = 0
        for name in await self._keys.list("b.*.*"):
            _, repository, digest = name.split(".")
            old = ages.get(part(digest, digest=True), self._grace) >= self._grace
            if old and repository not in unread and (repository, digest) not in needed:
                links += await self._keys.delete(name)
        blobs = 0
        for digest, age in ages.items():
            if age >= self._grace:
                blobs += await self._repositories.drop_unlinked(digest)
        swept = Swept(links, blobs, await self._uploads())
        log.info("sweep removed %d links, %d blobs, %d uploads", swept.links, swept.blobs, swept.uploads)
        return swept

    async def _needed(self) -> tuple[set[tuple[str, str]], set[str]]:
        """(repository token, digest token) of every blob that a manifest of that repository names, and repositories
        with a manifest that cannot be read: nobody knows what of theirs is needed."""
        needed: set[tuple[str, str]] = set()
        unread: set[str] = set()
        for name in await self._keys.list("m.*.*"):
            value = await self._keys.get(name)
            if value is None:
                continue
            repository = name.split(".")[1]
            try:
                parsed = manifests.parse(value.data, value.headers.get(CONTENT_TYPE, ""), name)
            except ImageError:
                log.warning("manifest %s cannot be parsed, so no blob of its repository is swept", name)
                unread.add(repository)
                continue
            if isinstance(parsed, Manifest):
                needed.update((repository, key(d.digest)) for d in (parsed.config, *parsed.layers))
        return needed, unread

    async def _uploads(self) -> int:
        """Drop uploads older than the grace period, and chunks that belong to neither a blob nor an upload."""
        open_uploads: set[str] = set()
        count = 0
        blobs = {blob.object_id async for blob in self._chunks.all()}
        for name in await self._keys.list("u.*"):
            upload = name.partition(".")[2]
            value = await self._keys.get(name)
            if value and time.time() - float(json.loads(value.data)["started"]) < self._grace:
                open_uploads.add(upload)
                continue
            if upload not in blobs:
                await self._chunks.discard(upload)
                count += 1
            await self._keys.delete(name)
        for object_id in await self._chunks.objects():
            # asked again one by one: an upload may have begun or ended since the lists were made
            if object_id in open_uploads or await self._keys.get(key("u", object_id)) is not None:
                continue
            if object_id not in blobs and object_id not in {b.object_id async for b in self._chunks.all()}:
                await self._chunks.discard(object_id)
                count += 1
        return count


def _stamp(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
