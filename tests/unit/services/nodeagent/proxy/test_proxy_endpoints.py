from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.proxy.endpoints import Endpoint, Place, arrange, everywhere, here, of_port, target

PLACE = Place("node-1", "zone-a")


def endpoint(number: int, *, local: bool = False, state: str = "ready", **hints: Any) -> Endpoint:
    return Endpoint(
        target(f"10.0.0.{number}", 80),
        local,
        ready=state == "ready",
        serving=state in ("ready", "leaving"),
        terminating=state in ("leaving", "gone"),
        **hints,
    )


def of(*numbers: int) -> list[bytes]:
    return [target(f"10.0.0.{number}", 80) for number in numbers]


def test_terminating_endpoints_serve_only_when_none_is_ready() -> None:
    ready, leaving, gone = endpoint(1), endpoint(2, state="leaving"), endpoint(3, state="gone")
    assert everywhere([ready, leaving, gone], PLACE) == of(1)
    assert everywhere([leaving, gone], PLACE) == of(2)
    assert everywhere([gone], PLACE) == []


def test_local_endpoints_fall_back_to_local_terminating_ones() -> None:
    assert here([endpoint(1), endpoint(2, local=True, state="leaving")]) == of(2)
    assert here([endpoint(1)]) == []


def test_hints_count_only_when_all_have_them() -> None:
    near = endpoint(1, zones=frozenset({"zone-a"}))
    far = endpoint(2, zones=frozenset({"zone-b"}))
    assert everywhere([near, far], PLACE) == of(1)
    assert everywhere([near, far, endpoint(3)], PLACE) == of(1, 2, 3)
    assert everywhere([far], PLACE) == of(2)
    own = endpoint(4, nodes=frozenset({"node-1"}), zones=frozenset({"zone-b"}))
    other = endpoint(5, nodes=frozenset({"node-2"}), zones=frozenset({"zone-a"}))
    assert everywhere([own, other], PLACE) == of(4)


def test_ports_are_matched_by_name_and_protocol() -> None:
    piece = {
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "web", "port": 9090, "protocol": "UDP"}],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "node-1"}],
    }
    six = {**piece, "addressType": "IPv6"}
    found = of_port([piece, six], "web", "UDP", PLACE)
    assert [(one.target, one.local, one.ready) for one in found] == [(target("10.0.0.1", 9090), True, True)]
    assert of_port([piece], "", "TCP", PLACE) == []


targets = st.lists(st.integers(1, 30).map(lambda number: target(f"10.0.0.{number}", 80)), unique=True)


@given(targets, targets)
def test_an_arrangement_holds_what_is_wanted_and_moves_as_little_as_possible(
    placed: list[bytes], wanted: list[bytes]
) -> None:
    result = arrange(placed, wanted)
    assert sorted(result) == sorted(wanted)
    for position, item in enumerate(placed[: len(wanted)]):
        if item in wanted:
            assert result[position] == item
