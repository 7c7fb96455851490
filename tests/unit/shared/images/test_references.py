"""Image names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.images import references
from shared.images.errors import InvalidReference
from shared.images.references import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", Reference("", "web", "latest")),
        ("web:1", Reference("", "web", "1")),
        ("library/web", Reference("", "library/web", "latest")),
        ("localhost/web", Reference("localhost", "web", "latest")),
        ("10.89.0.1:5000/a/b:v1.2", Reference("10.89.0.1:5000", "a/b", "v1.2")),
        ("[::1]:5000/a", Reference("[::1]:5000", "a", "latest")),
        (f"quay.io/a@{DIGEST}", Reference("quay.io", "a", "", DIGEST)),
        (f"quay.io/a:1@{DIGEST}", Reference("quay.io", "a", "1", DIGEST)),
    ],
)
def test_a_reference_is_split_into_its_parts(text: str, expected: Reference) -> None:
    assert references.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "Web", "web:", "a//b", "a/../b", "web:a b", "web@sha256:12", "-x", "quay.io/", "a" * 300, "http://a/b"]
)
def test_what_is_no_reference_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidReference):
        references.parse(text)


@given(
    st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
)
def test_a_reference_reads_back_as_it_was_written(repository: str, tag: str) -> None:
    reference = Reference("registry.example:5000", repository, tag)
    assert references.parse(str(reference)) == reference


def test_an_unqualified_name_is_looked_for_in_the_cluster_first() -> None:
    found = references.candidates(references.parse("web:1"), "10.89.0.1:5000")
    assert [str(reference) for reference in found] == ["10.89.0.1:5000/web:1", "docker.io/library/web:1"]


def test_a_qualified_name_is_looked_for_nowhere_else() -> None:
    found = references.candidates(references.parse("quay.io/web:1"), "10.89.0.1:5000")
    assert [str(reference) for reference in found] == ["quay.io/web:1"]
