"""/metrics, /healthz and /readyz of a process, from one thread of the standard library: every service runs on every
node, and an HTTP framework would weigh more than most of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

log = logging.getLogger(__name__)

Page = Callable[[], tuple[int, str, bytes]]


class MetricsServer:
    """Serves until closed. `ready` and every page in `pages` (path -> callable giving code, content type, body) are
    called on the server's own threads, so they may read but must not touch the event loop.

    `port` 0 binds any free port; `address` tells which.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ready: Callable[[], bool] = lambda: True,
        registry: CollectorRegistry = REGISTRY,
        pages: dict[str, Page] | None = None,
    ) -> None:
        routes: dict[str, Page] = {
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
            "/healthz": lambda: (200, "text/plain; charset=utf-8", b"ok"),
            "/livez": lambda: (200, "text/plain; charset=utf-8", b"ok"),
            "/readyz": lambda: (
                (200, "text/plain; charset=utf-8", b"ok")
                if ready()
                else (503, "text/plain; charset=utf-8", b"not ready")
            ),
            **(pages or {}),
        }

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                page = routes.get(self.path.partition("?")[0])
                try:
                    code, content_type, body = page() if page else (404, "text/plain; charset=utf-8", b"not found")
                except Exception:
                    log.exception("page %s failed", self.path)
                    code, content_type, body = 500, "text/plain; charset=utf-8", b"internal error"
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                log.debug(format, *args)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # a scraper that left must not hold up the end of the process
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                log.debug("request from %s failed", client_address, exc_info=True)

        self._server = Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
