"""One request while it arrives: what the parser's callbacks collect, and what of it is refused at once."""

from functools import lru_cache
from urllib.parse import parse_qs, unquote, urlsplit

from services.apiserver.failures import MAX_BODY, bad_request, too_large, unsupported_encoding
from services.apiserver.http.inflow import Inflow
from services.apiserver.protocol import Query, Request
from services.apiserver.routes import is_proxied
from shared.errors import ApiError

# Go's net/http takes a megabyte; no client needs a tenth of it
MAX_HEAD = 128 << 10
MAX_PARAMETERS = 1000


class Arrival:
    """`headers` have lower-case names and the values of repeated ones joined (RFC 9110, 5.3); `pairs` are those of
    Impersonate headers, where each counts. `error` is set as soon as the request cannot be served; `inflow` stands
    for the body of one that is passed on as it arrives."""

    __slots__ = (
        "body",
        "close",
        "complete",
        "error",
        "headers",
        "inflow",
        "method",
        "pairs",
        "peer",
        "request",
        "rest",
        "size",
        "url",
        "version",
    )

    def __init__(self) -> None:
        self.url = b""
        self.method = ""
        self.version = "1.1"
        self.headers: dict[str, str] = {}
        self.pairs: dict[str, list[str]] = {}
        self.body: list[bytes] = []
        self.size = 0
        self.close = False
        self.complete = False
        self.error: ApiError | None = None
        self.inflow: Inflow | None = None
        self.peer = ""
        # what came after a request to change the protocol
        self.rest: bytes | None = None
        # what became of it, as soon as that is known
        self.request: Request | None = None

    def add_header(self, name: bytes, value: bytes) -> None:
        key, text = _header_name(name), value.decode("utf-8", "replace")
        if key.startswith("impersonate-"):
            self.pairs.setdefault(key, []).append(text)
        present = self.headers.get(key)
        self.headers[key] = text if present is None else f"{present}, {text}"

    def check_head(self, *, upgrades: bool) -> None:
        """Refuse what the headers tell of a body that will not be read."""
        if not upgrades:
            # without Connection: upgrade it was meant for somebody else on the way
            self.headers.pop("upgrade", None)
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            # kube-apiserver does not decode bodies either, and what is not unpacked cannot explode
            self.error = unsupported_encoding(encoding)
        length = self.headers.get("content-length", "")
        if not self.passes_on() and length.isdigit() and int(length) > MAX_BODY:
            self.error = too_large()

    def passes_on(self) -> bool:
        """Whether the body is for whoever is behind a proxy subresource: it may be of any length, and is not held."""
        has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        return has_body and self.error is None and is_proxied(self.target()[0])

    def add_body(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_BODY:
            self.error = too_large()
            self.body.clear()
        else:
            self.body.append(data)

    def target(self) -> tuple[str, Query]:
        """Path and query parameters, decoded; BadRequest if there are too many of them."""
        return _target(self.url)

    def head(self) -> bytes:
        """The request without its body, as bytes again."""
        lines = [f"{self.method} {self.url.decode('latin-1')} HTTP/{self.version}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name not in self.pairs]
        lines += [f"{name}: {value}" for name, values in self.pairs.items() for value in values]
        return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n"


@lru_cache(maxsize=512)
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


@lru_cache(maxsize=512)
def _target(url: bytes) -> tuple[str, Query]:
    text = url.decode("utf-8", "replace")
    if not text.startswith("/"):
        # a request to a proxy names the whole URL
        parts = urlsplit(text)
        text = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    path, _, query = text.partition("?")
    if not query:
        return unquote(path), Query({})
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise bad_request(f"the query has more than {MAX_PARAMETERS} parameters") from None
    return unquote(path), Query(values)
