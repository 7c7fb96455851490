"""Kubernetes' URL library: url("https://...").getHost() and so on, read as Go's url.ParseRequestURI reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from shared.objects.cel.declarations import Library, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, STRING, list_of, map_of
from shared.objects.cel.values import Opaque

library = Library()
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:", re.ASCII)
_PORT = re.compile(r"(?:.*\]|[^:]*)(?::([0-9]*))?", re.ASCII)
_PATH_SAFE = "/!$&'()*+,;=:@-._~"


@dataclass(frozen=True, slots=True)
class Url(Opaque):
    """An absolute URI or an absolute path, in its parts."""

    parts: SplitResult
    type_name = "kubernetes.URL"

    @property
    def host(self) -> str:
        return self.parts.netloc.rpartition("@")[2]


URL = library.opaque_type("kubernetes.URL", Url)


def parse(text: str) -> Url:
    problem = ""
    if not text:
        problem = "empty url"
    elif re.search(r"[\x00-\x20\x7f]", text) is not None:
        problem = "invalid character in URL"
    elif re.search(r"%(?![0-9a-fA-F]{2})", text) is not None:
        problem = "invalid URL escape"
    elif not text.startswith("/") and _SCHEME.match(text) is None:
        problem = "invalid URI for request"
    if not problem:
        try:
            parts = urlsplit(text)
        except ValueError as exc:
            problem = str(exc)
        else:
            host = parts.netloc.rpartition("@")[2]
            if _PORT.fullmatch(host) is None:
                problem = f'invalid port "{host.partition(":")[2]}" after host'
            elif parts.scheme and not parts.netloc and not parts.path.startswith("/"):
                problem = "invalid URI for request"
            else:
                return Url(parts)
    raise EvaluationError(f'URL parse error during conversion from string: parse "{text}": {problem}')


def _is_url(text: str) -> bool:
    try:
        parse(text)
    except EvaluationError:
        return False
    return True


def _hostname(held: Url) -> str:
    host = held.host
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(held: Url) -> str:
    match = _PORT.fullmatch(held.host)
    return (match[1] or "") if match is not None else ""


def _query(held: Url) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(held.parts.query, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found


def _escaped_path(held: Url) -> str:
    return quote(unquote(held.parts.path), safe=_PATH_SAFE)


_READ = traversal(0)
library.function("url", (STRING,), URL, parse, cost=_READ)
library.function("isURL", (STRING,), BOOL, _is_url, cost=_READ)
library.method("getScheme", (URL,), STRING, lambda held: held.parts.scheme)
library.method("getHost", (URL,), STRING, lambda held: held.host)
library.method("getHostname", (URL,), STRING, _hostname)
library.method("getPort", (URL,), STRING, _port)
library.method("getEscapedPath", (URL,), STRING, _escaped_path)
library.method("getQuery", (URL,), map_of(STRING, list_of(STRING)), _query)
