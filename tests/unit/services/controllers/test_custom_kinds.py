"""Controllers reach custom resources as soon as, and as long as, their definition is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from services.controllers import garbage, namespaces, paths
from services.controllers.actions import Delete
from services.controllers.view import View
from shared.errors import StateError
from shared.events.subjects import Ref
from shared.objects.custom.catalog import GROUP, PLURAL, Catalog

BOAT = Ref("river.example", "boats", "shop", "punt")


class FakeRecord(NamedTuple):
    ref: Ref
    object: dict[str, Any]


class FakeChange(NamedTuple):
    type: str
    record: FakeRecord


def definition(*, established: bool = True) -> FakeRecord:
    versions = [
        {"name": "v1beta1", "served": True, "storage": False, "schema": {}},
        {"name": "v1", "served": True, "storage": True, "schema": {}},
    ]
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    condition = {"type": "Established", "status": str(established)}
    body = {
        "metadata": {"name": "boats.river.example", "resourceVersion": "5"},
        "spec": {"group": "river.example", "scope": "Namespaced", "names": names, "versions": versions},
        "status": {"acceptedNames": names, "conditions": [condition]},
    }
    return FakeRecord(Ref(GROUP, PLURAL, "", "boats.river.example"), body)


def boat(**metadata: Any) -> dict[str, Any]:
    head = {"name": "punt", "namespace": "shop", "uid": "u", "resourceVersion": "7", **metadata}
    return {"apiVersion": "river.example/v1", "kind": "Boat", "metadata": head}


class World:
    """A cache with some objects."""

    def __init__(self, objects: dict[Ref, dict[str, Any]]) -> None:
        self.objects = objects

    def get(self, ref: Ref) -> FakeRecord | None:
        return FakeRecord(ref, self.objects[ref]) if ref in self.objects else None

    def list(self, group: str, resource: str, namespace: str = "") -> list[FakeRecord]:
        return [
            FakeRecord(ref, obj)
            for ref, obj in self.objects.items()
            if ref[:2] == (group, resource) and namespace in ("", ref.namespace)
        ]

    def expected(self, ref: Ref) -> int:
        return 0

    def resources(self) -> list[tuple[str, str]]:
        return sorted({(ref.group, ref.resource) for ref in self.objects})


def view_of(objects: dict[Ref, dict[str, Any]]) -> View:
    view = View(World(objects))
    for ref, obj in objects.items():
        view.apply(ref, obj, None)
    return view


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    made = Catalog()
    yield made
    made.close()


def test_paths_follow_the_definitions(catalog: Catalog) -> None:
    assert paths.served("river.example", "boats") is None
    catalog.changed(FakeChange("ADDED", definition()))
    assert paths.path(BOAT, "status") == "/apis/river.example/v1/namespaces/shop/boats/punt/status"
    found = paths.of_kind("river.example", "v1alpha1", "Boat")
    assert found is not None
    assert found.version == "v1"
    catalog.changed(FakeChange("DELETED", definition()))
    with pytest.raises(StateError, match="is not served"):
        paths.path(BOAT)


def test_what_is_not_established_is_not_there(catalog: Catalog) -> None:
    catalog.changed(FakeChange("ADDED", definition(established=False)))
    assert paths.served("river.example", "boats") is None


def test_unchanged_definitions_are_not_served_anew(catalog: Catalog) -> None:
    replaced: list[tuple[str, str]] = []
    catalog = Catalog(lambda group, plural: replaced.append((group, plural)))
    catalog.changed(FakeChange("ADDED", definition()))
    first = paths.served("river.example", "boats")
    again = definition()
    again.object["metadata"]["labels"] = {"a": "b"}
    catalog.changed(FakeChange("MODIFIED", again))
    assert (paths.served("river.example", "boats"), replaced) == (first, [])
    again.object["spec"]["versions"][0]["served"] = False
    catalog.changed(FakeChange("MODIFIED", again))
    assert replaced == [("river.example", "boats")] * 2
    assert first is not None
    assert first.schema.custom is not None
    assert first.schema.custom.is_replaced
    catalog.close()


def test_a_namespace_that_ends_takes_its_custom_resources_along(catalog: Catalog) -> None:
    view = view_of({BOAT: boat()})
    assert namespaces.contents_of("shop", view) == []
    catalog.changed(FakeChange("ADDED", definition()))
    assert [ref for ref, _ in namespaces.contents_of("shop", view)] == [BOAT]


def test_dependents_of_custom_resources_are_collected(catalog: Catalog) -> None:
    catalog.changed(FakeChange("ADDED", definition()))
    owner = {"apiVersion": "river.example/v1", "kind": "Boat", "name": "punt", "uid": "u"}
    child = Ref("", "configmaps", "shop", "child")
    metadata = {"name": "child", "namespace": "shop", "uid": "c", "resourceVersion": "9", "ownerReferences": [owner]}
    dependent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    assert garbage.decide(child, dependent, view_of({BOAT: boat(), child: dependent})) == []
    (action,) = garbage.decide(child, dependent, view_of({child: dependent}))
    assert isinstance(action, Delete)
    catalog.close()
    # an owner of a kind that nobody serves is no reason to delete anything
    assert garbage.decide(child, dependent, view_of({child: dependent})) == []
