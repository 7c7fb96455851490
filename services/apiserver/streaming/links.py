"""Absolute paths in what a proxied server answers, led back through the proxy: Location and the links of HTML pages.

A page at /api/v1/namespaces/shop/pods/web/proxy/ that links to /style.css means the pod's, not the API server's.
The rules are those of k8s.io/apimachinery/pkg/util/proxy, transport.go: which attributes hold URLs, and which URLs are
left alone.
"""

import posixpath
import re
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

# attributes that hold URLs, by tag (HTML 4.01 and 5)
_CITED, _LINKED, _SHOWN = ("cite",), ("href",), ("src",)
ATTRIBUTES = {
    **dict.fromkeys(("a", "area", "base", "link"), _LINKED),
    **dict.fromkeys(("audio", "embed", "script", "source", "track"), _SHOWN),
    **dict.fromkeys(("blockquote", "del", "ins", "q"), _CITED),
    **dict.fromkeys(("frame", "iframe"), ("longdesc", "src")),
    "applet": ("codebase",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "form": ("action",),
    "head": ("profile",),
    "html": ("manifest",),
    "img": ("longdesc", "src", "usemap"),
    "input": ("formaction", "src", "usemap"),
    "object": ("classid", "codebase", "data", "usemap"),
    "video": ("poster", "src"),
}
# their content is text up to their end tag, whatever it looks like
RAW_TEXT = ("script", "style", "textarea", "title", "xmp", "noembed", "noframes")
# a tag that is longer than this is none
MAX_TAG = 64 << 10

_START = re.compile(rb"""<([a-zA-Z][^\s/>]*)((?:[^>"']|"[^"]*"|'[^']*')*)>""")
_ATTRIBUTE = re.compile(rb"""([^\s"'>/=]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")


def rewritten(url: str, prefix: str, hosts: frozenset[str]) -> str:
    """A URL that leads to the same place through the proxy at `prefix`; others come back as they are.

    `hosts` are the names by which the proxied server itself, or this one, may be meant.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/") or parts.path.startswith(prefix):
        return url
    path = posixpath.join(prefix, posixpath.normpath(parts.path).lstrip("/"))
    if parts.path.endswith("/") and not path.endswith("/"):
        path += "/"
    return urlunsplit(("", "", path, parts.query, parts.fragment))


class PageRewriter:
    """Rewrites a page as it passes: `feed` returns what can be sent on, `finish` the rest."""

    def __init__(self, prefix: str, hosts: frozenset[str]) -> None:
        self._prefix = prefix
        self._hosts = hosts
        self._rest = b""
        # what ends the text or comment that we are in
        self._until = b""

    def feed(self, data: bytes) -> bytes:
        text, position = self._rest + data, 0
        out: list[bytes] = []
        while position < len(text):
            if self._until:
                end = text.lower().find(self._until, position)
                if end < 0:
                    kept = max(position, len(text) - len(self._until) + 1)
                    out.append(text[position:kept])
                    position = kept
                    break
                end += len(self._until)
                out.append(text[position:end])
                position, self._until = end, b""
                continue
            begin = text.find(b"<", position)
            if begin < 0:
                out.append(text[position:])
                position = len(text)
                break
            out.append(text[position:begin])
            position = begin
            taken = self._markup(text, begin, out)
            if not taken:
                break
            position += taken
        self._rest = text[position:]
        return b"".join(out)

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    def _markup(self, text: bytes, begin: int, out: list[bytes]) -> int:
        """Handle what begins with `<`; how many bytes it was, 0 if more must come first."""
        head = text[begin : begin + 4]
        if b"<!--".startswith(head) and head != b"<!--":
            return 0
        if head == b"<!--":
            self._until = b"-->"
            out.append(head)
            return len(head)
        match = _START.match(text, begin)
        if match is None:
            if text[begin + 1 : begin + 2].isalpha() and len(text) - begin < MAX_TAG:
                return 0
            out.append(b"<")
            return 1
        tag = match[1].decode("latin-1").lower()
        if tag in RAW_TEXT and not match[2].endswith(b"/"):
            self._until = b"</" + tag.encode("latin-1")
        out.append(self._tag(tag, match))
        return match.end() - begin

    def _tag(self, tag: str, match: re.Match[bytes]) -> bytes:
        names = ATTRIBUTES.get(tag)
        if not names:
            return match[0]

        def replace(one: re.Match[bytes]) -> bytes:
            if one[1].decode("latin-1").lower() not in names:
                return one[0]
            value = one[3]
            quote = value[:1] if value[:1] in (b'"', b"'") else b""
            inner = value[1:-1] if quote else value
            url = rewritten(inner.decode("utf-8", "surrogateescape"), self._prefix, self._hosts)
            return one[1] + one[2] + quote + url.encode("utf-8", "surrogateescape") + quote

        return b"<" + match[1] + _ATTRIBUTE.sub(replace, match[2]) + b">"


async def rewrite_page(
    chunks: AsyncIterator[bytes], rewriter: PageRewriter, *, zipped: bool = False
) -> AsyncIterator[bytes]:
    """A page with its links led through the proxy, unpacked if it came with gzip. zlib.error if it did not."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if zipped else None
    async for data in chunks:
        plain = unpacker.decompress(data) if unpacker is not None else data
        if out := rewriter.feed(plain):
            yield out
    if out := rewriter.finish():
        yield out
