""".dockerignore patterns."""

from __future__ import annotations

import pytest

from shared.images.ignore import Ignore


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a", "b/a", False),
        ("**/a", "b/c/a", True),
        ("**/a", "a", True),
        ("*.py", "x.py", True),
        ("*.py", "d/x.py", False),
        ("d/**", "d/x/y", True),
        ("x?", "xy", True),
        ("[a-c]z", "bz", True),
        ("[^a-c]z", "bz", False),
        ("/a/", "a", True),
        ("./a", "a", True),
        ("# a", "a", False),
    ],
)
def test_a_pattern_matches_paths_and_what_is_below(pattern: str, path: str, ignored: bool) -> None:
    assert Ignore([pattern]).matches(path) is ignored


def test_the_last_rule_decides() -> None:
    ignore = Ignore(["*", "!keep", "keep/not"])
    assert [ignore.matches(path) for path in ("x", "keep", "keep/this", "keep/not")] == [True, False, False, True]
