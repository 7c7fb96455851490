"""How many replicas each revision of a Deployment may have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controllers.deployments import shares
from services.controllers.deployments.shares import MAXIMUM
from tests.unit.services.controllers.objects import deployment


def revision(name: str, replicas: int, available: int | None = None, maximum: int | None = None) -> dict[str, Any]:
    annotations = {} if maximum is None else {MAXIMUM: str(maximum)}
    return {
        "metadata": {"name": name, "annotations": annotations, "creationTimestamp": "2026-11-24T08:00:00Z"},
        "spec": {"replicas": replicas},
        "status": {"availableReplicas": replicas if available is None else available},
    }


def rolling(replicas: int, surge: int | str, unavailable: int | str) -> dict[str, Any]:
    rolling_update = {"maxSurge": surge, "maxUnavailable": unavailable}
    return deployment(replicas=replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling_update})


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (3, "25%", "25%", (1, 0)),
        (1, "25%", "25%", (1, 0)),
        (10, 0, 0, (0, 1)),
        (10, "0%", "5%", (0, 1)),
        (2, 5, 9, (5, 2)),
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_percentages_round_surge_up_and_unavailability_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    assert shares.fenceposts(rolling(replicas, surge, unavailable)) == expected


def test_recreate_has_no_fenceposts() -> None:
    assert shares.fenceposts(deployment(strategy={"type": "Recreate"})) == (0, 0)


@pytest.mark.parametrize(("old", "newest", "expected"), [(10, 0, 3), (8, 3, 5), (10, 3, 3), (0, 10, 10), (0, 12, 10)])
def test_the_newest_revision_grows_into_the_surge(old: int, newest: int, expected: int) -> None:
    everything = [revision("old", old), revision("new", newest)]
    assert shares.new_size(rolling(10, 3, 2), everything, newest) == expected


def test_old_pods_go_only_as_far_as_availability_allows() -> None:
    sizes = shares.old_sizes(rolling(10, 0, 2), revision("new", 0, 0), [revision("old", 10)])
    assert sizes == {"old": 8}


def test_broken_old_pods_go_first() -> None:
    old = [revision("broken", 4, 0), revision("working", 6)]
    sizes = shares.old_sizes(rolling(8, 2, 2), revision("new", 0, 0), old)
    assert sizes == {"broken": 0, "working": 6}


def test_nothing_goes_while_new_pods_are_not_available_yet() -> None:
    sizes = shares.old_sizes(rolling(10, 3, 0), revision("new", 3, 0), [revision("old", 10)])
    assert sizes == {"old": 10}


def test_scaling_up_in_the_middle_of_a_rollout_is_shared_by_size() -> None:
    active = [revision("old", 5, maximum=10), revision("new", 5, maximum=10)]
    sizes = shares.proportional(rolling(20, 0, 0), active)
    assert sizes == {"old": 10, "new": 10}


def test_what_rounding_leaves_goes_to_the_largest() -> None:
    active = [revision("old", 8, maximum=13), revision("new", 5, maximum=13)]
    sizes = shares.proportional(rolling(15, 3, 2), active)
    assert sum(sizes.values()) == 18
    assert sizes["old"] > sizes["new"]


def test_scaling_to_nothing_empties_every_revision() -> None:
    active = [revision("old", 3, maximum=5), revision("new", 2, maximum=5)]
    assert shares.proportional(rolling(0, 1, 1), active) == {"old": 0, "new": 0}


@given(
    replicas=st.integers(1, 60),
    surge=st.integers(0, 20),
    unavailable=st.integers(0, 20),
    old=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4),
    newest=st.integers(0, 30),
)
def test_a_step_never_breaks_the_promises_of_the_strategy(
    replicas: int, surge: int, unavailable: int, old: list[tuple[int, int]], newest: int
) -> None:
    obj = rolling(replicas, surge, unavailable)
    surge, unavailable = shares.fenceposts(obj)
    olds = [revision(f"old-{n}", size, min(size, ready)) for n, (size, ready) in enumerate(old)]
    new = revision("new", newest)
    before = newest + sum(size for size, _ in old)
    after = shares.new_size(obj, [*olds, new], newest)
    if after > newest:
        assert before - newest + after <= replicas + surge
    sizes = shares.old_sizes(obj, new, olds)
    lost = sum(min(shares.available(one), shares.desired(one) - sizes[one["metadata"]["name"]]) for one in olds)
    working = newest + sum(shares.available(one) for one in olds)
    gone_working = sum(max(0, shares.available(one) - sizes[one["metadata"]["name"]]) for one in olds)
    assert lost >= 0
    if gone_working:
        assert working - gone_working >= replicas - unavailable
