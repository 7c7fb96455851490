"""Links of proxied pages and redirects lead back through the proxy."""

import zlib

import pytest

from services.apiserver.streaming.links import PageRewriter, rewrite_page, rewritten

POD = "/api/v1/namespaces/shop/pods/web:8080/proxy"
HOSTS = frozenset(("web:8080", "api:6443"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/login", f"{POD}/login"),
        ("/", f"{POD}/"),
        ("/a/../b/?x=1#y", f"{POD}/b/?x=1#y"),
        ("next", "next"),
        ("?page=2", "?page=2"),
        ("#top", "#top"),
        (f"{POD}/done", f"{POD}/done"),
        ("http://web:8080/login", f"{POD}/login"),
        ("https://api:6443/login", f"{POD}/login"),
        ("https://elsewhere.example/", "https://elsewhere.example/"),
        ("//elsewhere.example/x", "//elsewhere.example/x"),
        ("mailto:a@b.c", "mailto:a@b.c"),
        ("http://[", "http://["),
    ],
)
def test_an_absolute_path_leads_through_the_proxy(url: str, expected: str) -> None:
    assert rewritten(url, POD, HOSTS) == expected


PAGE = b"""<!DOCTYPE html><html><head><title>a <a href="/t"> b</title>
<!-- <a href="/c"> --><LINK rel=x HREF="/style.css"><script src='/s.js'>var a = '<a href="/no">';</script></head>
<body background=/b.png><a class="x" href="/a?b=1&amp;c=2">1 < 2</a><img alt="/x" src="i.png"><form action = "/f">"""
EXPECTED = (
    PAGE.replace(b"/style.css", f"{POD}/style.css".encode())
    .replace(b"/s.js", f"{POD}/s.js".encode())
    .replace(b"/b.png", f"{POD}/b.png".encode())
    .replace(b"/a?b", f"{POD}/a?b".encode())
    .replace(b'"/f"', f'"{POD}/f"'.encode())
)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_links_of_a_page_are_rewritten_however_it_is_cut(size: int) -> None:
    rewriter = PageRewriter(POD, HOSTS)
    out = b"".join(rewriter.feed(PAGE[start : start + size]) for start in range(0, len(PAGE), size))
    assert out + rewriter.finish() == EXPECTED


def test_what_is_no_page_passes_as_it_is() -> None:
    rewriter = PageRewriter(POD, HOSTS)
    data = bytes(range(256)) * 300 + b"<a " + b"x" * (70 << 10)
    assert rewriter.feed(data) + rewriter.finish() == data


async def test_a_packed_page_is_unpacked() -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = packer.compress(PAGE) + packer.flush()

    async def chunks():  # type: ignore[no-untyped-def]
        for start in range(0, len(packed), 50):
            yield packed[start : start + 50]

    rewriter = PageRewriter(POD, HOSTS)
    assert b"".join([piece async for piece in rewrite_page(chunks(), rewriter, zipped=True)]) == EXPECTED
