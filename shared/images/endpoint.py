"""HTTP to one registry: connections, authentication, redirects and retries, over http.client.

Why not aiohttp: importing it costs the node agent about 13 MB, http.client under 1 MB, and a pull spends its time in
hashing and unpacking, which happen in a worker thread anyway. Every call here blocks and belongs in such a thread.
Source: OCI distribution spec v1.1; distribution project, "Token Authentication Specification"; RFC 9110.
"""

import http.client
import ipaddress
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urlencode, urljoin, urlsplit

from shared.images.credentials import Credential
from shared.images.errors import CorruptContent, ImageDenied, ImageNotFound, RegistryUnavailable
from shared.images.references import DOCKER_HUB

ATTEMPTS = 4
BACKOFF = 0.3
"""Seconds before the second attempt, doubled for each further one."""
REDIRECTS = (301, 302, 303, 307, 308)
TRANSIENT = (408, 429, 500, 502, 503, 504)
NETWORK_ERRORS = (OSError, http.client.HTTPException)
ERROR_BODY_LIMIT = 64 << 10
_PARAMETER = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"')

Body = bytes | Callable[[], IO[bytes]] | None
"""What to send: bytes, or a function that opens a fresh stream so that a retry can send it again."""


def is_plain(registry: str, cluster_registry: str = "") -> bool:
    """Whether `registry` is spoken to without TLS: the cluster's own registry and loopback addresses only."""
    if cluster_registry and registry == cluster_registry:
        return True
    host = urlsplit(f"//{registry}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Response:
    """One answer. The connection goes back to the pool once the body has been read to its end."""

    def __init__(
        self, endpoint: "Endpoint", connection: http.client.HTTPConnection, raw: http.client.HTTPResponse
    ) -> None:
        self._endpoint = endpoint
        self._connection: http.client.HTTPConnection | None = connection
        self._raw = raw
        self.status = raw.status
        self.url = ""

    def header(self, name: str, default: str = "") -> str:
        """The value of a response header, `default` if absent."""
        return self._raw.getheader(name) or default

    def read(self, size: int = -1, /) -> bytes:
        """Body bytes; raises OSError or HTTPException when the connection breaks."""
        data = self._raw.read() if size < 0 else self._raw.read(size)
        if size < 0 or (not data and size) or self._raw.isclosed():
            self._finish()
        return data

    def read_limited(self, limit: int, what: str) -> bytes:
        """The whole body, CorruptContent if it is longer than `limit` bytes."""
        data = self.read(limit + 1)
        while data and len(data) <= limit and (more := self.read(limit + 1 - len(data))):
            data += more
        if len(data) > limit:
            self.close()
            raise CorruptContent(f"{what} is larger than {limit} bytes")
        return data

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._raw.will_close or not self._raw.isclosed():
                connection.close()
            else:
                self._endpoint.give_back(self.url, connection)

    def close(self) -> None:
        """Drop the connection without reading the rest."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._raw.close()
            connection.close()


@dataclass(slots=True)
class _Token:
    value: str
    expires: float


@dataclass(slots=True)
class Endpoint:
    """A registry's `/v2/` API. Thread-safe; `timeout` is seconds of silence on a socket."""

    registry: str
    plain: bool
    credential: Credential | None = None
    timeout: float = 30.0
    pause: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _idle: dict[str, list[http.client.HTTPConnection]] = field(default_factory=dict)
    _tokens: dict[str, _Token] = field(default_factory=dict)
    _basic: bool = False
    _closed: bool = False
    _context: ssl.SSLContext | None = None

    @property
    def base(self) -> str:
        """The URL in front of `/v2/`."""
        host = "registry-1.docker.io" if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if self.plain else 'https'}://{host}"

    def close(self) -> None:
        """Close the idle connections, and those in use as soon as they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def call(
        self,
        method: str,
        target: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        accept: tuple[int, ...] = (200,),
        what: str = "",
    ) -> Response:
        """One request with authentication, redirects and retries.

        `target` is a path or URL; `scope` the token scope (`repository:<name>:pull`); `accept` the statuses that are
        answers, anything else becomes ImageNotFound, ImageDenied or RegistryUnavailable with `what` in the message.
        """
        what = what or f"{method} {target}"
        url = urljoin(self.base, target)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._authenticated(method, url, scope, dict(headers or {}), body)
            except NETWORK_ERRORS as exc:
                if attempt == ATTEMPTS:
                    raise RegistryUnavailable(f"{what}: registry {self.registry} cannot be reached: {exc}") from exc
                self.pause(BACKOFF * 2 ** (attempt - 1))
                continue
            if response.status in accept:
                return response
            if response.status in TRANSIENT and attempt < ATTEMPTS:
                delay = _retry_after(response, BACKOFF * 2 ** (attempt - 1))
                response.close()
                self.pause(delay)
                continue
            raise _failure(response, what, self.registry)
        raise AssertionError("unreachable")

    def _authenticated(self, method: str, url: str, scope: str, headers: dict[str, str], body: Body) -> Response:
        if (known := self._authorization(scope)) is not None:
            headers["Authorization"] = known
        response = self._redirected(method, url, headers, body)
        challenge = response.header("WWW-Authenticate")
        if response.status != 401 or not challenge:
            return response
        response.close()
        headers["Authorization"] = self._answer(challenge, scope)
        return self._redirected(method, url, headers, body)

    def _redirected(self, method: str, url: str, headers: dict[str, str], body: Body) -> Response:
        origin = urlsplit(url)
        for _ in range(6):
            response = self._exchange(method, url, headers, body)
            if response.status not in REDIRECTS or not response.header("Location"):
                return response
            target = urljoin(url, response.header("Location"))
            response.close()
            if urlsplit(target).scheme not in ("http", "https"):
                raise http.client.HTTPException(f"redirect to {target!r} refused")
            if origin.scheme == "https" and urlsplit(target).scheme == "http":
                raise http.client.HTTPException(f"redirect from https to {target!r} refused")
            if urlsplit(target).netloc != origin.netloc:
                # a pre-signed storage URL must not see, and often rejects, the registry's token
                headers = {k: v for k, v in headers.items() if k != "Authorization"}
            url = target
        raise http.client.HTTPException("too many redirects")

    def _exchange(self, method: str, url: str, headers: dict[str, str], body: Body) -> Response:
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": "wherry", **headers}
        for fresh in (False, True):
            connection, reused = self._connection(parts.scheme, parts.netloc, fresh)
            payload = body() if callable(body) else body
            try:
                connection.request(method, target, payload, sent)
                response = Response(self, connection, connection.getresponse())
            except NETWORK_ERRORS:
                connection.close()
                # the peer may have closed an idle connection at any time; that is no failure yet
                if reused:
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            finally:
                if payload is not None and not isinstance(payload, bytes):
                    payload.close()
            response.url = url
            if method == "HEAD":
                response.read()
            return response
        raise AssertionError("unreachable")

    def _connection(self, scheme: str, netloc: str, fresh: bool) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            idle = self._idle.get(f"{scheme}://{netloc}")
            if idle and not fresh:
                return idle.pop(), True
        if scheme == "http":
            return http.client.HTTPConnection(netloc, timeout=self.timeout, blocksize=256 << 10), False
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
            context = self._context
        return http.client.HTTPSConnection(netloc, timeout=self.timeout, context=context, blocksize=256 << 10), False

    def give_back(self, url: str, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose last answer was read to its end."""
        parts = urlsplit(url)
        with self._lock:
            idle = self._idle.setdefault(f"{parts.scheme}://{parts.netloc}", [])
            if len(idle) < 4 and not self._closed:
                idle.append(connection)
                return
        connection.close()

    def _authorization(self, scope: str) -> str | None:
        with self._lock:
            token = self._tokens.get(scope)
            if token and token.expires > time.monotonic():
                return f"Bearer {token.value}"
            if self._basic and self.credential:
                return self.credential.basic
        return None

    def _answer(self, challenge: str, scope: str) -> str:
        """The Authorization header for a challenge (RFC 9110 section 11.6.1)."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            if not self.credential:
                raise ImageDenied(f"registry {self.registry} wants a user and password")
            with self._lock:
                self._basic = True
            return self.credential.basic
        if scheme.lower() != "bearer":
            raise ImageDenied(f"registry {self.registry} wants authentication scheme {scheme!r}")
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.get("realm", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise ImageDenied(f"registry {self.registry} names no token server")
        if urlsplit(realm).scheme == "http" and not self.plain:
            raise ImageDenied(f"registry {self.registry} names a token server without TLS")
        token = self._token(realm, parameters.get("service", ""), parameters.get("scope") or scope)
        with self._lock:
            self._tokens[scope] = token
        return f"Bearer {token.value}"

    def _token(self, realm: str, service: str, scope: str) -> _Token:
        credential = self.credential
        headers: dict[str, str] = {"Accept": "application/json"}
        if credential and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "service": service,
                "scope": scope,
                "client_id": "wherry",
            }
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            response = self._redirected("POST", realm, headers, urlencode(form).encode())
        else:
            query = [("service", service)] if service else []
            query += [("scope", part) for part in scope.split(" ") if part]
            if credential and credential.username:
                query.append(("account", credential.username))
                headers["Authorization"] = credential.basic
            separator = "&" if urlsplit(realm).query else "?"
            response = self._redirected("GET", f"{realm}{separator}{urlencode(query)}", headers, None)
        if response.status != 200:
            raise _failure(response, f"token for {scope}", self.registry)
        try:
            document = json.loads(response.read_limited(1 << 20, "token answer"))
            value = str(document.get("token") or document["access_token"])
            lifetime = float(document.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ImageDenied(f"token server of registry {self.registry} gave no token") from exc
        return _Token(value, time.monotonic() + max(lifetime - 10, 1))


def _retry_after(response: Response, default: float) -> float:
    text = response.header("Retry-After")
    return min(float(text), 10.0) if text.isdigit() else default


def _failure(response: Response, what: str, registry: str) -> ImageDenied | ImageNotFound | RegistryUnavailable:
    """Map an error answer; the first message of the registry's error document is kept (spec, "Error Codes")."""
    detail = ""
    try:
        errors = json.loads(response.read(ERROR_BODY_LIMIT) or b"{}").get("errors") or []
        detail = "; ".join(f"{e.get('code', '')}: {e.get('message', '')}" for e in errors[:3] if isinstance(e, dict))
    except (ValueError, AttributeError, TypeError, *NETWORK_ERRORS):
        detail = ""
    response.close()
    text = f"{what}: registry {registry} answered {response.status}" + (f" ({detail})" if detail else "")
    if response.status in (401, 403):
        return ImageDenied(text)
    if response.status in (400, 404, 405, 416):
        return ImageNotFound(text)
    return RegistryUnavailable(text)
