"""What differs between two revisions."""

from __future__ import annotations

from typing import Any

import pytest

from shared.cli.differences import bare, differences


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: 1 -> 2"]),
        ({}, {"a": "x"}, ["a: + x"]),
        ({"a": "x"}, {}, ["a: - x"]),
        ({"a": [1, 2]}, {"a": [2]}, ["a: [1, 2] -> [2]"]),
        (
            {"c": [{"name": "web", "image": "a:1"}, {"name": "log"}]},
            {"c": [{"name": "new"}, {"name": "web", "image": "a:2"}]},
            ["c[web].image: a:1 -> a:2", 'c[log]: - {"name": "log"}', 'c[new]: + {"name": "new"}'],
        ),
        ({"a": "x\ny"}, {"a": "z" * 100}, ["a: x\\ny -> " + "z" * 59 + "…"]),
    ],
)
def test_differences_are_paths_with_both_values(old: dict[str, Any], new: dict[str, Any], told: list[str]) -> None:
    assert [str(one) for one in differences(old, new)] == told


def test_bookkeeping_is_no_difference() -> None:
    old = {"metadata": {"name": "a", "resourceVersion": "1", "managedFields": [{"manager": "x"}]}}
    new = {"metadata": {"name": "a", "resourceVersion": "2", "managedFields": []}}
    assert differences(old, new) == []
    assert bare(new) == {"metadata": {"name": "a"}}
