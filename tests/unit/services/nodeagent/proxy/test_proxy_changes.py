from __future__ import annotations

from typing import Any

from services.nodeagent.proxy.changes import Changes

TRIGGER = {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-24T08:00:00Z"}


def piece(name: str, service: str, **annotations: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"namespace": "ns", "name": name, "labels": labels, "annotations": annotations}}


def test_only_what_is_another_object_has_changed() -> None:
    changes = Changes()
    one, two = {"metadata": {}}, {"metadata": {}}
    services = {("ns", "one"): one, ("ns", "two"): two}
    assert changes.look(services, {}) == {("ns", "one"), ("ns", "two")}
    assert changes.look(services, {}) == set()
    services["ns", "two"] = {"metadata": {}}
    assert changes.look(services, {}) == {("ns", "two")}
    del services["ns", "one"]
    assert changes.look(services, {}) == {("ns", "one")}


def test_a_slice_concerns_the_service_it_names_before_and_after() -> None:
    changes = Changes()
    slices = {("ns", "s1"): piece("s1", "one", **TRIGGER)}
    assert changes.look({}, slices) == {("ns", "one")}
    assert changes.triggers == [1795507200.0]
    assert changes.slices(("ns", "one")) == [slices["ns", "s1"]]
    slices = {("ns", "s1"): piece("s1", "two", **TRIGGER)}
    assert changes.look({}, slices) == {("ns", "one"), ("ns", "two")}
    assert changes.triggers == []
    assert changes.slices(("ns", "one")) == []
    assert changes.look({}, {}) == {("ns", "two")}
    assert changes.slices(("ns", "two")) == []
