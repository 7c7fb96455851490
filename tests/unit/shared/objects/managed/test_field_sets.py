"""The algebra of field sets agrees with that of sets of paths."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.objects.managed import sets

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"x"', "i:0"])
PATHS = st.frozensets(st.lists(ELEMENTS, min_size=1, max_size=3).map(tuple), max_size=8)


def built(paths: frozenset[tuple[str, ...]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return sets.read(tree)


def paths_of(fields: dict[str, Any]) -> frozenset[tuple[str, ...]]:
    return frozenset(sets.members(fields))


@given(PATHS)
def test_a_set_holds_the_paths_it_was_built_from(paths: frozenset[tuple[str, ...]]) -> None:
    assert paths_of(built(paths)) == paths


@given(PATHS, PATHS)
def test_union_difference_and_intersection_are_those_of_paths(
    left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]
) -> None:
    assert paths_of(sets.united(built(left), built(right))) == left | right
    assert paths_of(sets.without(built(left), built(right))) == left - right
    assert paths_of(sets.shared(built(left), built(right))) == left & right


@given(PATHS, PATHS)
def test_equal_sets_have_one_form(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> None:
    assert sets.without(sets.united(built(left), built(right)), built(right - left)) == built(left)
    assert sets.read(sets.united(built(left), built(right))) == built(left | right)


@given(PATHS, PATHS)
def test_operations_leave_their_inputs_alone(
    left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]
) -> None:
    one, other = built(left), built(right)
    for operation in (sets.united, sets.without, sets.shared):
        operation(one, other)
    assert one == built(left)
    assert other == built(right)


def test_an_operation_that_changes_nothing_returns_its_input() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:a": {}, "f:b": {".": {}, "f:c": {}}}}
    assert sets.united(fields, {"f:spec": {"f:b": {}}}) is fields
    assert sets.without(fields, {"f:spec": {"f:d": {}}}) is fields


def test_paths_come_level_by_level_in_order() -> None:
    fields: dict[str, Any] = {"f:b": {"f:z": {}, "f:y": {}}, "f:a": {".": {}, "f:c": {}}}
    assert [sets.text(path) for path in sets.members(fields)] == [".a", ".a.c", ".b.y", ".b.z"]


def test_paths_read_as_kubernetes_writes_them() -> None:
    path = ("f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', 'v:"x"', "i:2", "f:a.b/c")
    assert sets.text(path) == '.spec[containerPort=80,protocol="TCP"][="x"][2].a.b/c'


def test_key_fields_are_brought_in_order() -> None:
    assert sets.read({'k:{"protocol": "TCP", "containerPort": 80}': {}}) == {
        'k:{"containerPort":80,"protocol":"TCP"}': {}
    }


@pytest.mark.parametrize(
    "broken", [[], {"spec": {}}, {"f:spec": 1}, {"k:x": {}}, {"k:1": {}}, {"i:x": {}}, {"x:y": {}}]
)
def test_what_is_no_field_set_is_refused(broken: Any) -> None:
    with pytest.raises(ValueError, match=r"field set|path element"):
        sets.read(broken)
