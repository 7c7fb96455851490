"""Keys of the registry's bucket."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from services.registry.keys import key, part

VALID_KEY = re.compile(r"[-/_=.a-zA-Z0-9]+\Z")
REPOSITORY = st.from_regex(r"[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?(/[a-z0-9]{1,4}){0,2}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,9}", fullmatch=True)


@given(REPOSITORY, TAG)
def test_every_part_is_one_token_and_reads_back(repository: str, tag: str) -> None:
    name = key("t", repository, tag)
    assert VALID_KEY.match(name)
    tokens = name.split(".")
    assert [part(token) for token in tokens] == ["t", repository, tag]


def test_a_digest_reads_back() -> None:
    digest = "sha256:" + "a" * 64
    assert part(key(digest), digest=True) == digest
