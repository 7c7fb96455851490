"""Names that are chosen, not drawn."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from services.controllers import naming


def test_the_same_state_gives_the_same_names() -> None:
    assert naming.free("web-", "uid", set().__contains__, 3) == naming.free("web-", "uid", set().__contains__, 3)


def test_taken_names_are_passed_over() -> None:
    first = naming.free("web-", "uid", set().__contains__, 3)
    rest = naming.free("web-", "uid", {first[0], first[2]}.__contains__, 2)
    assert rest[0] == first[1]
    assert rest[1] not in first


def test_owners_have_sequences_of_their_own() -> None:
    one, other = (set(naming.free("web-", seed, set().__contains__, 50)) for seed in ("a", "b"))
    assert not one & other


@given(st.from_regex(r"[a-z]([a-z0-9-]{0,80}[a-z0-9])?-", fullmatch=True), st.text(max_size=30))
def test_every_name_is_a_label(prefix: str, seed: str) -> None:
    for name in naming.free(prefix, seed, set().__contains__, 5):
        assert len(name) <= 63
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
