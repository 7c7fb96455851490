"""A registry for one image in a thread: breaks connections, tampers, asks for tokens, and counts what is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.unit.shared.images.archives import TestImage


class MisbehavingRegistry:
    """`break_after` bytes a blob's connection ends, `tamper` names blobs whose bytes are changed, `hold` stops blobs
    until the event is set, `user` turns on bearer tokens for that user and `password`."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.break_after = 0
        self.ranges = True
        self.tamper: set[str] = set()
        self.fail_with: list[int] = []
        self.hold: threading.Event | None = None
        self.user = ""
        self.requests: Counter[str] = Counter()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.answer(self)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold:
            self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, image: TestImage, tag: str = "1") -> None:
        self.blobs.update(image.blobs)
        for reference in (tag, image.digest):
            self.manifests[reference] = (image.manifest, image.media_type)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        kind, _, name = path.rpartition("/")
        self.requests[f"{request.command} {kind.rpartition('/')[2]}"] += 1
        if path == "/token":
            self._token(request)
            return
        if self.user and request.headers.get("Authorization") != "Bearer good":
            realm = f'Bearer realm="http://{self.address}/token",service="test",scope="repository:app:pull"'
            self._send(request, 401, b"", {"WWW-Authenticate": realm})
            return
        if self.fail_with:
            self._send(request, self.fail_with.pop(0), b"", {})
            return
        if "/manifests/" in path and name in self.manifests:
            data, media_type = self.manifests[name]
            self._send(request, 200, data, {"Content-Type": media_type})
        elif "/blobs/" in path and name in self.blobs:
            self._blob(request, name)
        else:
            self._send(request, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}', {})

    def _token(self, request: BaseHTTPRequestHandler) -> None:
        wanted = "Basic " + base64.b64encode(f"{self.user}:password".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            self._send(request, 401, b"", {})
            return
        self._send(request, 200, json.dumps({"token": "good", "expires_in": 300}).encode(), {})

    def _blob(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if self.hold:
            self.hold.wait(20)
        data = self.blobs[name]
        if name in self.tamper:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        header = request.headers.get("Range")
        if header and self.ranges:
            start = int(header.removeprefix("bytes=").rstrip("-"))
            self.requests["ranges"] += 1
        status = 206 if start else 200
        request.send_response(status)
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        part = data[start:]
        if self.break_after and len(part) > self.break_after:
            request.wfile.write(part[: self.break_after])
            request.close_connection = True
            return
        request.wfile.write(part)

    def _send(self, request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, Any]) -> None:
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data)
