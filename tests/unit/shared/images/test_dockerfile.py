"""Dockerfiles as text."""

from __future__ import annotations

import pytest

from shared.images import dockerfile
from shared.images.dockerfile import Instruction
from shared.images.errors import BuildError


def words(text: str) -> list[tuple[int, str, str]]:
    return [(i.line, i.name, i.text) for i in dockerfile.parse(text)]


def test_instructions_know_their_line() -> None:
    assert words("# a comment\n\nfrom scratch\nCOPY a b\n") == [(3, "FROM", "scratch"), (4, "COPY", "a b")]


def test_continued_lines_are_joined_over_comments_and_blank_lines() -> None:
    assert words("ENV a=1 \\\n  # why\n\n  b=2\nUSER 5") == [(1, "ENV", "a=1   b=2"), (5, "USER", "5")]


def test_the_escape_directive_changes_the_continuation() -> None:
    assert words("# escape=`\nCOPY a `\nb") == [(2, "COPY", "a b")]


def test_flags_are_taken_off() -> None:
    (found,) = dockerfile.parse("COPY --chown=1:2 --link a b")
    assert (found.flags, found.text) == ({"chown": "1:2", "link": "true"}, "a b")


def test_a_here_document_is_refused_with_its_line() -> None:
    with pytest.raises(BuildError, match="Dockerfile line 2: COPY with a here-document"):
        dockerfile.parse("FROM scratch\nCOPY <<EOF /a\nx\nEOF\n")


LINE = Instruction(7, "ENV", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", "x-x"),
        ("${B:-d}", "d"),
        ("${A:+y}${B:+z}", "y"),
        ("${B:-${A}}", "x"),
        (r"\$A", "$A"),
        ("'$A'", "'$A'"),
        ('"$A"', '"x"'),
        ("$", "$"),
    ],
)
def test_variables_are_replaced(text: str, expected: str) -> None:
    assert dockerfile.expand(text, {"A": "x"}, LINE) == expected


@pytest.mark.parametrize("text", ["${A", "${A:?no}", "${}"])
def test_an_unknown_form_of_variable_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(BuildError, match="line 7: ENV"):
        dockerfile.expand(text, {"A": "x"}, LINE)


def test_pairs_keep_quoted_spaces() -> None:
    assert dockerfile.pairs('a=1 b="x y" c=', LINE) == [("a", "1"), ("b", "x y"), ("c", "")]


def test_the_old_form_of_env_is_one_pair() -> None:
    assert dockerfile.pairs("a the rest", LINE) == [("a", "the rest")]
