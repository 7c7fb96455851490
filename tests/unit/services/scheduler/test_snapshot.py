from __future__ import annotations

from services.scheduler.requests import CPU
from tests.unit.services.scheduler.builders import node, pod, view


def requested_cpu(seen: object, row: int = 0) -> int:
    return int(seen.freeze().requested[row, CPU])  # type: ignore[attr-defined]


def test_a_pod_that_moves_through_its_life_is_counted_once() -> None:
    seen = view([node("n1")])
    seen.freeze()
    seen.set_pod("default", "p", pod("p", requests={"cpu": "1"}))
    assert requested_cpu(seen) == 0
    for phase in ("Pending", "Running"):
        seen.set_pod("default", "p", pod("p", "n1", requests={"cpu": "1"}, phase=phase))
        assert requested_cpu(seen) == 1000
    assert seen.set_pod("default", "p", pod("p", "n1", requests={"cpu": "1"}, phase="Failed"))
    assert requested_cpu(seen) == 0


def test_deciding_does_not_change_the_view() -> None:
    seen = view([node("n1")], [pod("p", "n1", requests={"cpu": "1"}, phase="Running")])
    seen.freeze().requested[:] = 7
    assert requested_cpu(seen) == 1000


def test_a_node_that_comes_back_has_its_pods_again() -> None:
    seen = view([node("n1")], [pod("p", "n1", requests={"cpu": "1"}, phase="Running")])
    seen.set_node("n1", None)
    assert seen.freeze().nodes.names == []
    seen.set_node("n1", node("n1"))
    assert requested_cpu(seen) == 1000


def test_a_heartbeat_is_no_change() -> None:
    seen = view([node("n1")])
    beat = node("n1")
    beat["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert not seen.set_node("n1", beat)
    assert seen.set_node("n1", node("n1", cpu="8"))


def test_a_new_resource_name_widens_the_matrix() -> None:
    seen = view([node("n1")])
    seen.freeze()
    seen.set_pod("default", "p", pod("p", "n1", requests={"example.com/x": "2"}, phase="Running"))
    snapshot = seen.freeze()
    assert snapshot.requested[0, snapshot.columns.number("example.com/x")] == 2
