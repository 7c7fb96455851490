"""A client of the OCI distribution API: what pulling, building and pushing need.

Why blobs are readers: a layer is consumed while it arrives; when the connection breaks the reader asks for the rest
with a Range request, so a retry never starts a large layer again.
Source: OCI distribution spec v1.1, endpoints end-1 to end-13.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlencode, urljoin, urlsplit

from shared.images import digests, manifests
from shared.images.endpoint import NETWORK_ERRORS, Endpoint, Response
from shared.images.errors import CorruptContent, ImageNotFound, RegistryUnavailable
from shared.images.manifests import ACCEPTED, DOCUMENT_LIMIT, Descriptor

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

RESUMES = 5
"""How often in a row a blob may break without a byte of progress before the pull fails."""
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest as the registry served it: exact bytes, media type, digest of the bytes."""

    data: bytes
    media_type: str
    digest: str


class Repository:
    """One repository of a registry."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint = endpoint
        self.name = name
        self._pull = f"repository:{name}:pull"
        self._push = f"repository:{name}:pull,push"

    @property
    def registry(self) -> str:
        """The registry's host and port."""
        return self._endpoint.registry

    def _path(self, *parts: str) -> str:
        return "/".join(("/v2", self.name, *(quote(p, safe=":") for p in parts)))

    def manifest(self, version: str) -> Document:
        """Fetch a manifest or index by tag or digest and verify it. Raises ImageNotFound, CorruptContent."""
        what = f"manifest {self.name}:{version}"
        response = self._endpoint.call(
            "GET",
            self._path("manifests", version),
            scope=self._pull,
            headers={"Accept": ", ".join(ACCEPTED)},
            what=what,
        )
        try:
            data = response.read_limited(DOCUMENT_LIMIT, what)
        except NETWORK_ERRORS as exc:
            raise RegistryUnavailable(f"{what}: connection broke: {exc}") from exc
        expected = version if digests.is_digest(version) else response.header("Docker-Content-Digest")
        if expected:
            digests.verify(data, expected, what)
        return Document(data, response.header("Content-Type").partition(";")[0].strip(), expected or digests.of(data))

    def manifest_digest(self, version: str) -> str:
        """The digest a tag points at, without fetching the manifest if the registry tells."""
        response = self._endpoint.call(
            "HEAD",
            self._path("manifests", version),
            scope=self._pull,
            headers={"Accept": ", ".join(ACCEPTED)},
            what=f"manifest {self.name}:{version}",
        )
        digest = response.header("Docker-Content-Digest")
        return digests.check(digest) if digest else self.manifest(version).digest

    def blob(self, descriptor: Descriptor) -> "BlobReader":
        """A verified-by-the-caller stream of a blob."""
        return BlobReader(self, descriptor)

    def small_blob(self, descriptor: Descriptor, what: str) -> bytes:
        """A whole small blob (a configuration), verified."""
        if descriptor.size > DOCUMENT_LIMIT:
            raise CorruptContent(f"{what} is larger than {DOCUMENT_LIMIT} bytes")
        with self.blob(descriptor) as reader:
            parts = []
            while part := reader.read(DOCUMENT_LIMIT):
                parts.append(part)
        data = b"".join(parts)
        digests.verify(data, descriptor.digest, what)
        return data

    def open_verified(self, descriptor: Descriptor) -> IO[bytes]:
        """A file-like stream of a blob that raises CorruptContent at its end if the digest does not match."""
        return io.BufferedReader(_VerifiedStream(self.blob(descriptor), descriptor), 1 << 20)

    def open_blob(self, digest: str, offset: int) -> Response:
        """The raw answer for a blob from byte `offset`; status 200 means the server ignored the range."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        path = self._path("blobs", digest)
        what = f"blob {digest}"
        return self._endpoint.call("GET", path, scope=self._pull, headers=headers, accept=(200, 206), what=what)

    def has_blob(self, digest: str) -> bool:
        """Whether the repository holds the blob already."""
        response = self._endpoint.call(
            "HEAD", self._path("blobs", digest), scope=self._push, accept=(200, 404), what=f"blob {digest}"
        )
        return response.status == 200

    def push_blob(self, descriptor: Descriptor, stream: Callable[[], IO[bytes]], mount_from: str = "") -> bool:
        """Upload a blob unless it is there. `stream` opens the content anew for each try. True if bytes were sent."""
        if self.has_blob(descriptor.digest):
            return False
        query = f"?{urlencode({'mount': descriptor.digest, 'from': mount_from})}" if mount_from else ""
        start = self._endpoint.call(
            "POST",
            self._path("blobs", "uploads") + "/" + query,
            scope=self._push,
            headers={"Content-Length": "0"},
            accept=(201, 202),
            what=f"upload to {self.name}",
        )
        start.read()
        if start.status == 201:
            return False
        location = urljoin(start.url, start.header("Location"))
        target = location + ("&" if urlsplit(location).query else "?") + urlencode({"digest": descriptor.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)}
        what = f"upload {descriptor.digest}"
        self._endpoint.call(
            "PUT", target, scope=self._push, headers=headers, body=stream, accept=(201,), what=what
        ).read()
        return True

    def put_manifest(self, version: str, data: bytes, media_type: str) -> str:
        """Store a manifest under a tag or digest; returns its digest."""
        response = self._endpoint.call(
            "PUT",
            self._path("manifests", version),
            scope=self._push,
            headers={"Content-Type": media_type},
            body=data,
            accept=(201,),
            what=f"manifest {self.name}:{version}",
        )
        response.read()
        return digests.of(data)

    def delete_manifest(self, version: str) -> None:
        """Remove a manifest (by digest) or a tag."""
        scope = f"repository:{self.name}:delete"
        what = f"manifest {self.name}:{version}"
        self._endpoint.call("DELETE", self._path("manifests", version), scope=scope, accept=(202,), what=what).read()

    def tags(self) -> list[str]:
        """All tags; an unknown repository has none."""
        try:
            return list(pages(self._endpoint, self._path("tags", "list"), "tags", self._pull))
        except ImageNotFound:
            return []


class BlobReader:
    """Reads a blob to its stated size, resuming with Range requests. Raises RegistryUnavailable, CorruptContent."""

    def __init__(self, repository: Repository, descriptor: Descriptor) -> None:
        self._repository = repository
        self._descriptor = descriptor
        self._response: Response | None = None
        self.position = 0

    def __enter__(self) -> "BlobReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        if self._response:
            self._response.close()
            self._response = None

    def read(self, size: int = -1, /) -> bytes:
        remaining = self._descriptor.size - self.position
        if remaining <= 0:
            return b""
        size = remaining if size < 0 else min(size, remaining)
        failure: BaseException | None = None
        for _ in range(RESUMES):
            try:
                response = self._response or self._open()
                if data := response.read(size):
                    self.position += len(data)
                    return data
            except NETWORK_ERRORS as exc:
                failure = exc
            self.close()
        digest = self._descriptor.digest
        raise RegistryUnavailable(f"blob {digest}: connection keeps breaking at byte {self.position}: {failure}")

    def _open(self) -> Response:
        response = self._repository.open_blob(self._descriptor.digest, self.position)
        if response.status == 200:
            skip = self.position
            while skip:
                passed = response.read(min(skip, 1 << 20))
                if not passed:
                    raise ConnectionResetError("ended while skipping what was read before")
                skip -= len(passed)
        self._response = response
        return response


class _VerifiedStream(io.RawIOBase):
    """A BlobReader as a raw stream."""

    def __init__(self, reader: BlobReader, descriptor: Descriptor) -> None:
        self._reader = reader
        self._hashed = digests.HashingReader(reader, digests.algorithm_of(descriptor.digest))
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        data = self._hashed.read(len(view))
        view[: len(data)] = data
        if not data and self._hashed.digest != self._descriptor.digest:
            raise CorruptContent(f"blob {self._descriptor.digest} has digest {self._hashed.digest}")
        return len(data)

    def close(self) -> None:
        self._reader.close()
        super().close()


def pages(endpoint: Endpoint, path: str, key: str, scope: str) -> Iterator[str]:
    """Every string of a paginated listing (`tags/list`, `_catalog`), following Link headers."""
    url = path
    while url:
        response = endpoint.call("GET", url, scope=scope, what=f"listing {path}")
        what = f"listing {path}"
        try:
            document = json.loads(response.read_limited(DOCUMENT_LIMIT, what))
        except ValueError as exc:
            raise CorruptContent(f"{what} is not valid JSON") from exc
        yield from document.get(key) or []
        link = _NEXT.search(response.header("Link"))
        url = urljoin(response.url, link.group(1)) if link else ""


def catalog(endpoint: Endpoint) -> list[str]:
    """All repositories of a registry that offers a catalogue."""
    return list(pages(endpoint, "/v2/_catalog", "repositories", "registry:catalog:*"))


def image_of(
    repository: Repository, version: str, platform: manifests.Platform
) -> tuple[str, Document, manifests.Manifest]:
    """What `version` names (its digest), and the manifest to run on `platform`: the named one, or one of its index."""
    document = repository.manifest(version)
    named = document.digest
    parsed = manifests.parse(document.data, document.media_type, f"manifest {repository.name}:{version}")
    for _ in range(2):
        if isinstance(parsed, manifests.Manifest):
            return named, document, parsed
        chosen = parsed.select(platform)
        document = repository.manifest(chosen.digest)
        parsed = manifests.parse(document.data, document.media_type, f"manifest {repository.name}@{chosen.digest}")
    if isinstance(parsed, manifests.Manifest):
        return named, document, parsed
    raise CorruptContent(f"manifest {repository.name}:{version} nests indexes too deep")
