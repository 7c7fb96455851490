"""What a repository holds: tags, manifests, blob links and referrers, over the key bucket and the chunk bucket.

Why links: blobs are stored once for the whole cluster, but a repository serves only what was pushed or mounted to it,
so that a digest alone gives nobody access to another repository's layer.
Source: OCI distribution spec v1.1, "Content Management", "Content Discovery", "Listing Referrers".
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from services.registry.chunks import Blob, Chunks
from services.registry.failures import RegistryFailure
from services.registry.keys import CONTENT_TYPE, Keys, key, part
from services.registry.uploads import Uploads
from shared.images import digests, manifests
from shared.images.errors import ImageError
from shared.images.manifests import ACCEPTED, OCI_EMPTY, Descriptor, Index, Manifest


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest's exact bytes, media type and digest."""

    data: bytes
    media_type: str
    digest: str


class Repositories:
    """Everything below `/v2/<name>/`."""

    def __init__(self, keys: Keys, chunks: Chunks) -> None:
        self._keys = keys
        self._chunks = chunks
        self.uploads = Uploads(keys, chunks)

    async def names(self) -> list[str]:
        """All repositories, sorted."""
        return sorted(part(name.partition(".")[2]) for name in await self._keys.list("r.*"))

    async def require(self, repository: str) -> None:
        """NAME_UNKNOWN unless something was ever pushed to the repository."""
        if await self._keys.get(key("r", repository)) is None:
            raise RegistryFailure("NAME_UNKNOWN", f"repository {repository} is not known to the registry")

    async def create(self, repository: str) -> None:
        """Make the repository known; done by the first push."""
        if await self._keys.get(key("r", repository)) is None:
            await self._keys.put(key("r", repository), b"")

    async def blob(self, repository: str, digest: str) -> Blob:
        """A blob that the repository may serve, BLOB_UNKNOWN otherwise."""
        blob = await self._linked(repository, digest)
        if blob is None:
            raise RegistryFailure("BLOB_UNKNOWN", f"blob {digest} is not in repository {repository}")
        return blob

    def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes of a blob."""
        return self._chunks.read(blob, start, stop)

    async def mount(self, repository: str, digest: str, source: str) -> bool:
        """Let `repository` serve a blob of `source` ("" for any repository); whether there was such a blob."""
        if source:
            found = await self._linked(source, digest) is not None
        else:
            found = bool(await self._keys.list(f"b.*.{key(digest)}")) and await self._chunks.find(digest) is not None
        if found:
            await self.create(repository)
            await self._keys.put(key("b", repository, digest), b"")
        return found

    async def unlink_blob(self, repository: str, digest: str) -> None:
        """Take a blob out of the repository; its bytes go when no repository has it any more."""
        if not await self._keys.delete(key("b", repository, digest)):
            raise RegistryFailure("BLOB_UNKNOWN", f"blob {digest} is not in repository {repository}")
        await self.drop_unlinked(digest)

    async def drop_unlinked(self, digest: str) -> bool:
        """Remove a blob's bytes if no repository links to it; whether they were removed."""
        if await self._keys.list(f"b.*.{key(digest)}"):
            return False
        blob = await self._chunks.find(digest)
        if blob is not None:
            await self._chunks.remove(blob)
        return blob is not None

    async def manifest(self, repository: str, reference: str) -> StoredManifest:
        """A manifest by tag or digest, MANIFEST_UNKNOWN otherwise."""
        digest = reference
        if not digests.is_digest(reference):
            tag = await self._keys.get(key("t", repository, reference))
            if tag is None:
                await self.require(repository)
                raise RegistryFailure("MANIFEST_UNKNOWN", f"tag {reference} is not in repository {repository}")
            digest = str(json.loads(tag.data)["digest"])
        value = await self._keys.get(key("m", repository, digest))
        if value is None:
            raise RegistryFailure("MANIFEST_UNKNOWN", f"manifest {digest} is not in repository {repository}")
        return StoredManifest(value.data, value.headers.get(CONTENT_TYPE, manifests.OCI_MANIFEST), digest)

    async def put_manifest(
        self, repository: str, reference: str, data: bytes, content_type: str
    ) -> tuple[StoredManifest, Descriptor | None]:
        """Store a manifest under a tag or digest once everything it needs is there; also its subject, if it has one.

        The manifest is stored before the tag that shows it.
        """
        try:
            parsed = manifests.parse(data, content_type, f"manifest {repository}:{reference}")
        except ImageError as exc:
            raise RegistryFailure("MANIFEST_INVALID", str(exc)) from exc
        by_digest = digests.is_digest(reference)
        digest = digests.of(data, digests.algorithm_of(reference) if by_digest else "sha256")
        if by_digest and digest != reference:
            raise RegistryFailure("DIGEST_INVALID", f"manifest has digest {digest}, not {reference}")
        await self._check_references(repository, parsed)
        media_type = content_type if content_type in ACCEPTED else parsed.media_type
        await self.create(repository)
        if parsed.subject:
            document = _referrer(parsed, digest, media_type, len(data))
            await self._keys.put(key("s", repository, parsed.subject.digest, digest), manifests.encode(document))
        await self._keys.put(key("m", repository, digest), data, media_type)
        if not by_digest:
            tag = {"digest": digest, "mediaType": media_type}
            await self._keys.put(key("t", repository, reference), manifests.encode(tag))
        return StoredManifest(data, media_type, digest), parsed.subject

    async def delete_manifest(self, repository: str, reference: str) -> None:
        """Remove a tag, or a manifest by digest together with the tags that show it."""
        if not digests.is_digest(reference):
            if not await self._keys.delete(key("t", repository, reference)):
                raise RegistryFailure("MANIFEST_UNKNOWN", f"tag {reference} is not in repository {repository}")
            return
        stored = await self.manifest(repository, reference)
        for tag in await self.tags(repository):
            value = await self._keys.get(key("t", repository, tag))
            if value and json.loads(value.data)["digest"] == reference:
                await self._keys.delete(key("t", repository, tag))
        subject = manifests.parse(stored.data, stored.media_type, reference).subject
        if subject:
            await self._keys.delete(key("s", repository, subject.digest, reference))
        await self._keys.delete(key("m", repository, reference))

    async def tags(self, repository: str) -> list[str]:
        """All tags in lexical order."""
        found = await self._keys.list(f"t.{key(repository)}.*")
        return sorted(part(name.rpartition(".")[2]) for name in found)

    async def referrers(self, repository: str, subject: str) -> list[dict[str, Any]]:
        """Descriptors of the manifests that refer to `subject`, which itself need not exist."""
        found = []
        for name in await self._keys.list(f"s.{key(repository)}.{key(subject)}.*"):
            if (value := await self._keys.get(name)) is not None:
                found.append(json.loads(value.data))
        return found

    async def _linked(self, repository: str, digest: str) -> Blob | None:
        if await self._keys.get(key("b", repository, digest)) is None:
            return None
        return await self._chunks.find(digest)

    async def _check_references(self, repository: str, parsed: Manifest | Index) -> None:
        if isinstance(parsed, Index):
            for entry in parsed.manifests:
                if await self._keys.get(key("m", repository, entry.digest)) is None:
                    message = f"manifest {entry.digest} of the index is not in repository {repository}"
                    raise RegistryFailure("MANIFEST_BLOB_UNKNOWN", message)
            return
        for needed in {d.digest: d for d in (parsed.config, *parsed.layers)}.values():
            if "nondistributable" in needed.media_type or "foreign" in needed.media_type:
                continue
            if await self._linked(repository, needed.digest) is None:
                message = f"blob {needed.digest} of the manifest is not in repository {repository}"
                raise RegistryFailure("MANIFEST_BLOB_UNKNOWN", message)


def _referrer(parsed: Manifest | Index, digest: str, media_type: str, size: int) -> dict[str, Any]:
    """A referrers entry: the artifact type falls back to the configuration's media type (spec, "Listing Referrers")."""
    artifact_type = parsed.artifact_type
    if not artifact_type and isinstance(parsed, Manifest) and parsed.config.media_type != OCI_EMPTY:
        artifact_type = parsed.config.media_type
    return Descriptor(media_type, digest, size, None, parsed.annotations, artifact_type).document()
