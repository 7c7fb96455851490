"""What is read out of a stream's information about its copies."""

from __future__ import annotations

from shared.bus.replicas import FOLLOWER, LEADER, OFFLINE, Replica, read


def test_a_stream_on_a_single_server_has_no_copies() -> None:
    assert read(None) == []


def test_leader_and_followers_are_sorted_by_name() -> None:
    cluster = {
        "leader": "c-2",
        "replicas": [{"name": "c-3", "current": True, "active": 5}, {"name": "c-1", "current": True, "lag": 7}],
    }
    assert read(cluster) == [Replica("c-1", FOLLOWER), Replica("c-2", LEADER), Replica("c-3", FOLLOWER)]


def test_a_copy_that_is_not_current_lacks_at_least_one_entry() -> None:
    cluster = {
        "leader": "c-1",
        "replicas": [{"name": "c-2", "current": False}, {"name": "c-3", "current": False, "offline": True, "lag": 9}],
    }
    found = read(cluster)
    assert found == [Replica("c-1", LEADER), Replica("c-2", FOLLOWER, 1), Replica("c-3", OFFLINE, 9)]
    assert [one.current for one in found] == [True, False, False]


def test_without_a_leader_there_are_only_the_others() -> None:
    assert read({"leader": "", "replicas": [{"name": "c-1", "current": True}]}) == [Replica("c-1", FOLLOWER)]
