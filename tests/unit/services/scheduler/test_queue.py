from __future__ import annotations

from services.scheduler.queue import LONGEST_BACKOFF_S, SchedulingQueue
from tests.unit.services.scheduler.builders import pod

KEY = ("default", "p")


def names(queue: SchedulingQueue, now: float) -> list[str]:
    return [entry.key[1] for entry in queue.ready(now, 10)]


def test_more_important_pods_come_first_then_the_older_ones() -> None:
    queue = SchedulingQueue()
    for name, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5)]:
        queue.add(("default", name), pod(name, priority=priority), 0.0)
    assert names(queue, 0.0) == ["b", "d", "a", "c"]


def test_a_pod_that_fits_nowhere_is_parked_until_the_cluster_changes() -> None:
    queue = SchedulingQueue()
    queue.add(KEY, pod("p"), 0.0)
    queue.failed(KEY, 0.0)
    assert names(queue, 60.0) == []
    queue.cluster_changed()
    assert names(queue, 60.0) == ["p"]


def test_a_change_of_the_cluster_does_not_cut_the_back_off_short() -> None:
    queue = SchedulingQueue()
    queue.add(KEY, pod("p"), 0.0)
    for _ in range(10):
        queue.failed(KEY, 100.0)
    queue.cluster_changed()
    assert names(queue, 100.0 + LONGEST_BACKOFF_S - 0.1) == []
    assert queue.next_due() == 100.0 + LONGEST_BACKOFF_S
    assert names(queue, 100.0 + LONGEST_BACKOFF_S) == ["p"]


def test_a_changed_specification_ends_the_parking() -> None:
    queue = SchedulingQueue()
    queue.add(KEY, pod("p"), 0.0)
    queue.failed(KEY, 0.0)
    queue.add(KEY, pod("p", nodeSelector={"a": "b"}), 1.0)
    assert names(queue, 1.0) == ["p"]


def test_a_changed_status_does_not_end_the_parking() -> None:
    queue = SchedulingQueue()
    queue.add(KEY, pod("p"), 0.0)
    queue.failed(KEY, 0.0)
    queue.add(KEY, pod("p") | {"status": {"conditions": [{"type": "PodScheduled"}]}}, 1.0)
    assert names(queue, 1.0) == []


def test_the_queue_counts_what_waits_and_how() -> None:
    queue = SchedulingQueue()
    queue.add(("default", "a"), pod("a"), 0.0)
    queue.add(KEY, pod("p"), 0.0)
    queue.failed(KEY, 0.0)
    assert queue.counts(0.1) == {"active": 1, "backoff": 0, "unschedulable": 1}
    queue.cluster_changed()
    assert queue.counts(0.1) == {"active": 1, "backoff": 1, "unschedulable": 0}


def test_nothing_is_due_when_nothing_waits() -> None:
    queue = SchedulingQueue()
    queue.add(KEY, pod("p"), 0.0)
    queue.remove(KEY)
    assert queue.next_due() is None
    assert names(queue, 0.0) == []
