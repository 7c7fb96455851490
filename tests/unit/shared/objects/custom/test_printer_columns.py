"""JSONPath as printer columns use it, and the cells they make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.objects.custom import jsonpath
from shared.objects.custom.columns import PrinterColumns
from shared.objects.versions import order

OBJECT: dict[str, Any] = {
    "metadata": {"name": "b", "labels": {"app.kubernetes.io/name": "x"}, "creationTimestamp": "2026-11-24T08:00:00Z"},
    "spec": {"n": 3, "list": ["a", "b", "c"], "rows": [{"k": "x", "v": 1}, {"k": "y", "v": 2, "ok": True}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.n", [3]),
        ("{.spec.n}", [3]),
        ("$.spec.n", [3]),
        (".spec.missing", []),
        (".spec.list[0]", ["a"]),
        (".spec.list[-1]", ["c"]),
        (".spec.list[0,2]", ["a", "c"]),
        (".spec.list[1:]", ["b", "c"]),
        (".spec.list[9]", []),
        (".spec.list[*]", ["a", "b", "c"]),
        (".spec.rows[*].k", ["x", "y"]),
        ('.spec.rows[?(@.k=="y")].v', [2]),
        (".spec.rows[?(@.v>1)].k", ["y"]),
        (".spec.rows[?(@.v != 1)].k", ["y"]),
        (".spec.rows[?(@.ok)].k", ["y"]),
        (".spec.rows[?(@.ok==true)].k", ["y"]),
        ("..v", [1, 2]),
        (r".metadata.labels.app\.kubernetes\.io/name", ["x"]),
        (".metadata.labels['app.kubernetes.io/name']", ["x"]),
        (".spec.*", [3, OBJECT["spec"]["list"], OBJECT["spec"]["rows"]]),
    ],
)
def test_a_path_finds_what_it_leads_to(path: str, found: list[Any]) -> None:
    assert jsonpath.find(path, OBJECT) == found


@pytest.mark.parametrize("path", [".a[", ".a[?(", ".a[x]", "a b", ".a[?(@.b==c)]"])
def test_a_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="json path"):
        jsonpath.find(path, {"a": [{"b": 1}]})


def cells(*columns: tuple[str, str]) -> list[Any]:
    declared = [{"name": path, "type": kind, "jsonPath": path} for kind, path in columns]
    return PrinterColumns(declared).cells(OBJECT, datetime(2026, 11, 24, 9, tzinfo=UTC))


def test_cells_have_the_type_of_their_column_or_nothing() -> None:
    assert cells(("integer", ".spec.n"), ("string", ".spec.n"), ("boolean", ".spec.n"), ("number", ".spec.n")) == [
        "b",
        3,
        "3",
        None,
        3,
    ]
    assert cells(("string", ".spec.list"), ("string", ".spec.list[*]"), ("integer", ".spec.list[0]")) == [
        "b",
        '["a","b","c"]',
        "a b c",
        None,
    ]


def test_dates_are_ages() -> None:
    assert cells(("date", ".metadata.creationTimestamp"), ("date", ".metadata.name"), ("date", ".spec.n")) == [
        "b",
        "60m",
        "<invalid>",
        None,
    ]


def test_without_columns_there_is_the_age() -> None:
    assert [one.name for one in PrinterColumns(None).columns()] == ["Name", "Age"]


def test_versions_are_ordered_by_stability_then_by_number() -> None:
    given = ["foo1", "v1alpha1", "v1", "v11beta2", "v10", "v12alpha1", "v2", "v11alpha2", "v3beta1", "foo10"]
    assert sorted(given, key=order) == [
        "v10",
        "v2",
        "v1",
        "v11beta2",
        "v3beta1",
        "v12alpha1",
        "v11alpha2",
        "v1alpha1",
        "foo1",
        "foo10",
    ]
