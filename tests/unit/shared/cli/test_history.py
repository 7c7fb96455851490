"""What `wherry history` and `wherry diff` make of the revisions in the log."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.cli.cluster import ClusterError
from shared.cli.history import aligned, chosen, entry
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.record import Record

AUTHOR = Author("anna", "kubectl/v1.35.0 (linux/amd64)", "kubectl")


def record(revision: int, predecessor: int, *, deleted: bool = False, **more: Any) -> Record:
    raw = msgspec.msgpack.encode({"metadata": {"name": "a"}, **more})
    return Record(Ref("", "pods", "default", "a"), revision, raw, AUTHOR, "patch", 1795508135.0, deleted, predecessor)


def test_an_entry_says_who_how_and_what() -> None:
    shown = entry(record(7, 5, n=2), record(5, 0, n=1))
    assert (shown["revision"], shown["user"], shown["agent"], shown["manager"], shown["cause"]) == (
        7,
        "anna",
        "kubectl/v1.35.0",
        "kubectl",
        "patch",
    )
    assert shown["changes"] == ["n: 1 -> 2"]
    assert not shown["deleted"]


def test_the_first_revision_has_no_changes_and_a_gap_is_told() -> None:
    assert entry(record(5, 0), None)["changes"] == []
    assert entry(record(5, 3), None)["changes"] == ["earlier revisions are no longer kept"]
    assert entry(record(9, 7), record(7, 5, deleted=True))["changes"] == []


def test_a_deletion_is_named_as_such() -> None:
    assert entry(record(9, 7, deleted=True), record(7, 5))["cause"] == "patch (the object is gone)"


def test_the_state_at_a_revision_is_the_last_one_up_to_it() -> None:
    records = [record(5, 0), record(7, 5), record(9, 7, deleted=True)]
    states = [(one := chosen(records, revision)) and one.revision for revision in (4, 5, 6, 8, 9, 100)]
    assert states == [None, 5, 5, 7, None, None]


def test_a_state_that_is_not_kept_is_an_error() -> None:
    with pytest.raises(ClusterError, match="no longer kept"):
        chosen([record(7, 5)], 6)


def test_rows_stand_in_columns() -> None:
    assert aligned([("A", "B"), ("long", "x")]) == ["A      B", "long   x"]
