"""HTTP in front of the pipeline: TLS, credentials, bodies, and answers as bytes, chunks or WebSocket frames.

`server` listens, `connection` speaks HTTP/1.1 on one connection, `answers` and `watches` make the bytes, and `upgrades`
hands connections that become WebSockets to aiohttp.
"""

from services.apiserver.http.answers import prepare, to_raw
from services.apiserver.http.server import HttpServer, server_context

__all__ = ["HttpServer", "prepare", "server_context", "to_raw"]
