"""The distribution API over HTTP: paths, ranges, headers.

Why one handler splits the path: repository names contain slashes, so the fixed part of a path is at its end, and
aiohttp's router matches from the front.
Source: OCI distribution spec v1.1, "Endpoints" end-1 to end-13; RFC 9110 section 14 (ranges).
"""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from services.registry.failures import RegistryFailure
from services.registry.repositories import Repositories
from services.registry.uploads import Upload
from shared.images import digests
from shared.images.manifests import ACCEPTED, DOCUMENT_LIMIT, OCI_INDEX, encode
from shared.images.references import NAME_LIMIT, REPOSITORY, TAG

log = logging.getLogger(__name__)

API_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
_TAIL = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>blobs|manifests|tags|referrers)/(?P<rest>uploads/?|uploads/[^/]+|[^/]+)\Z"
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d+)-(\d+)(?:/(?:\d+|\*))?\Z")

STARTED = web.RequestKey("started", bool)
"""The status line is out, an error can only cut the connection."""
ROUTE = web.RequestKey("route", str)

Handler = Callable[[web.Request, str, str], Awaitable[web.StreamResponse]]


class Routes:
    """HTTP handlers over the repositories."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._handlers: dict[tuple[str, str], Handler] = {
            ("blobs", "GET"): self._get_blob,
            ("blobs", "HEAD"): self._get_blob,
            ("blobs", "DELETE"): self._delete_blob,
            ("uploads", "POST"): self._start_upload,
            ("upload", "GET"): self._upload_status,
            ("upload", "PATCH"): self._append,
            ("upload", "PUT"): self._finish,
            ("upload", "DELETE"): self._cancel,
            ("manifests", "GET"): self._get_manifest,
            ("manifests", "HEAD"): self._get_manifest,
            ("manifests", "PUT"): self._put_manifest,
            ("manifests", "DELETE"): self._delete_manifest,
            ("tags", "GET"): self._tags,
            ("referrers", "GET"): self._referrers,
        }

    def add_to(self, app: web.Application) -> None:
        """Register the API."""
        app.router.add_get("/v2/", self._version)
        app.router.add_get("/v2", self._version)
        app.router.add_get("/v2/_catalog", self._catalog)
        app.router.add_route("*", "/v2/{tail:.+}", self._dispatch)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({}, headers=API_VERSION)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        found = _TAIL.match(request.path)
        if not found:
            raise RegistryFailure("NAME_UNKNOWN", f"path {request.path} is not part of the distribution API")
        name, kind, rest = found["name"], found["kind"], found["rest"]
        if not REPOSITORY.match(name) or len(name) > NAME_LIMIT:
            raise RegistryFailure("NAME_INVALID", f"repository name {name!r} is invalid")
        if kind == "blobs" and (rest == "uploads" or rest.startswith("uploads/")):
            rest = rest.removeprefix("uploads").strip("/")
            kind = "upload" if rest else "uploads"
        elif "/" in rest or (kind == "tags" and rest != "list"):
            raise RegistryFailure("NAME_UNKNOWN", f"path {request.path} is not part of the distribution API")
        handler = self._handlers.get((kind, request.method))
        if handler is None:
            raise RegistryFailure("UNSUPPORTED", f"{request.method} is not supported for {request.path}")
        request[ROUTE] = kind
        return await handler(request, name, rest)

    async def _get_blob(self, request: web.Request, name: str, digest: str) -> web.StreamResponse:
        blob = await self._repositories.blob(name, _digest(digest))
        start, stop, partial = _range(request.headers.get("Range", ""), blob.size)
        headers = {
            **API_VERSION,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(stop - start),
            "Docker-Content-Digest": digest,
            "Etag": f'"{digest}"',
            "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=31536000",
        }
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        await response.prepare(request)
        request[STARTED] = True
        try:
            if request.method == "GET":
                async for data in self._repositories.read(blob, start, stop):
                    await response.write(data)
            await response.write_eof()
        except ConnectionError:
            log.debug("client of blob %s went away", digest)
        return response

    async def _delete_blob(self, _: web.Request, name: str, digest: str) -> web.Response:
        await self._repositories.unlink_blob(name, _digest(digest))
        return web.Response(status=202, headers=API_VERSION)

    async def _start_upload(self, request: web.Request, name: str, _: str) -> web.Response:
        mount = request.query.get("mount")
        if mount and await self._repositories.mount(name, _digest(mount), request.query.get("from", "")):
            return _created(name, mount)
        await self._repositories.create(name)
        upload = await self._repositories.uploads.start(name)
        if "digest" in request.query:
            digest = _digest(request.query["digest"])
            await self._repositories.uploads.append(upload, _body(request))
            await self._repositories.uploads.finish(upload, digest)
            return _created(name, digest)
        return _accepted(upload)

    async def _upload_status(self, _: web.Request, name: str, upload_id: str) -> web.Response:
        return _accepted(await self._repositories.uploads.find(name, upload_id), status=204)

    async def _append(self, request: web.Request, name: str, upload_id: str) -> web.Response:
        upload = await self._repositories.uploads.find(name, upload_id)
        await self._repositories.uploads.append(upload, _body(request), _start(request))
        return _accepted(upload)

    async def _finish(self, request: web.Request, name: str, upload_id: str) -> web.Response:
        digest = _digest(request.query.get("digest", ""))
        upload = await self._repositories.uploads.find(name, upload_id)
        if request.body_exists:
            await self._repositories.uploads.append(upload, _body(request), _start(request))
        await self._repositories.uploads.finish(upload, digest)
        return _created(name, digest)

    async def _cancel(self, _: web.Request, name: str, upload_id: str) -> web.Response:
        await self._repositories.uploads.cancel(await self._repositories.uploads.find(name, upload_id))
        return web.Response(status=204, headers=API_VERSION)

    async def _get_manifest(self, request: web.Request, name: str, reference: str) -> web.Response:
        stored = await self._repositories.manifest(name, _reference(reference))
        headers = {
            **API_VERSION,
            "Content-Type": stored.media_type,
            "Docker-Content-Digest": stored.digest,
            "Etag": f'"{stored.digest}"',
        }
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(stored.data))})
        return web.Response(body=stored.data, headers=headers)

    async def _put_manifest(self, request: web.Request, name: str, reference: str) -> web.Response:
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
        if content_type and content_type not in ACCEPTED:
            raise RegistryFailure("MANIFEST_INVALID", f"media type {content_type!r} is not a manifest's")
        parts: list[bytes] = []
        async for data in request.content.iter_any():
            parts.append(data)
            if sum(map(len, parts)) > DOCUMENT_LIMIT:
                raise RegistryFailure("TOO_LARGE", f"manifest is larger than {DOCUMENT_LIMIT} bytes")
        stored, subject = await self._repositories.put_manifest(
            name, _reference(reference), b"".join(parts), content_type
        )
        headers = {
            **API_VERSION,
            "Location": f"/v2/{name}/manifests/{stored.digest}",
            "Docker-Content-Digest": stored.digest,
        }
        if subject:
            headers["OCI-Subject"] = subject.digest
        return web.Response(status=201, headers=headers)

    async def _delete_manifest(self, _: web.Request, name: str, reference: str) -> web.Response:
        await self._repositories.delete_manifest(name, _reference(reference))
        return web.Response(status=202, headers=API_VERSION)

    async def _tags(self, request: web.Request, name: str, _: str) -> web.Response:
        await self._repositories.require(name)
        page, link = _page(request, await self._repositories.tags(name))
        return web.json_response({"name": name, "tags": page}, headers={**API_VERSION, **link})

    async def _catalog(self, request: web.Request) -> web.Response:
        page, link = _page(request, await self._repositories.names())
        return web.json_response({"repositories": page}, headers={**API_VERSION, **link})

    async def _referrers(self, request: web.Request, name: str, digest: str) -> web.Response:
        found = await self._repositories.referrers(name, _digest(digest))
        headers = dict(API_VERSION)
        if wanted := request.query.get("artifactType"):
            found = [entry for entry in found if entry.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return web.Response(body=encode(index), content_type=OCI_INDEX, headers=headers)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    try:
        async for data in request.content.iter_any():
            yield data
    except (ConnectionError, PayloadEncodingError) as exc:
        raise RegistryFailure("BLOB_UPLOAD_INVALID", f"the body broke off: {exc}") from exc


def _digest(text: str) -> str:
    if not digests.is_digest(text):
        raise RegistryFailure("DIGEST_INVALID", f"digest {text[:140]!r} is invalid")
    return text


def _reference(text: str) -> str:
    if ":" in text:
        return _digest(text)
    if not TAG.match(text):
        raise RegistryFailure("MANIFEST_INVALID", f"tag {text[:140]!r} is invalid")
    return text


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """(start, stop, partial) of a Range header; several ranges or another unit are answered with everything."""
    found = _RANGE.match(header.strip())
    if not found or found.groups() == ("", ""):
        return 0, size, False
    first, last = found.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or start >= stop:
        raise RegistryFailure("RANGE_INVALID", f"range {header!r} is not within {size} bytes", _whole(size))
    return start, stop, True


def _whole(size: int) -> dict[str, str]:
    return {"Content-Range": f"bytes */{size}"}


def _start(request: web.Request) -> int | None:
    """The offset of a chunk; Docker leaves the header out or sends it without the unit."""
    header = request.headers.get("Content-Range", "")
    if not header:
        return None
    found = _CONTENT_RANGE.match(header.strip())
    if not found:
        raise RegistryFailure("BLOB_UPLOAD_INVALID", f"Content-Range {header!r} is invalid")
    first, last = int(found[1]), int(found[2])
    length = request.content_length
    if length is not None and length != last - first + 1:
        raise RegistryFailure("SIZE_INVALID", f"Content-Range {header!r} does not fit Content-Length {length}")
    return first


def _page(request: web.Request, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """One page of sorted names after `last`, at most `n`, and the Link to the next one (RFC 5988)."""
    last = request.query.get("last", "")
    names = [name for name in names if name > last] if last else names
    text = request.query.get("n", "")
    if not text:
        return names, {}
    if not text.isdecimal():
        raise RegistryFailure("UNSUPPORTED", f"page size {text!r} is not a number")
    page = names[: int(text)]
    if len(page) == len(names) or not page:
        return page, {}
    query = urlencode({"n": text, "last": page[-1]})
    return page, {"Link": f'<{request.path}?{query}>; rel="next"'}


def _accepted(upload: Upload, status: int = 202) -> web.Response:
    headers = {
        **API_VERSION,
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.offset - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
        "OCI-Chunk-Min-Length": "0",
    }
    return web.Response(status=status, headers=headers)


def _created(name: str, digest: str) -> web.Response:
    headers = {**API_VERSION, "Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return web.Response(status=201, headers=headers)
