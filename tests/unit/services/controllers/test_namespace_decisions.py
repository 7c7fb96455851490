"""Termination of namespaces."""

from __future__ import annotations

from typing import Any

from services.controllers import instants, namespaces
from services.controllers.actions import DeleteAll, Together, Update
from shared.events.subjects import Ref
from shared.objects import meta
from tests.unit.services.controllers.objects import namespace, pod

NOW = 1_800_000_000.0
POD = Ref("", "pods", "shop", "web")


def ending() -> dict[str, Any]:
    found = namespace()
    found["metadata"]["deletionTimestamp"] = instants.text(NOW)
    found["status"] = {"phase": "Terminating"}
    return found


def test_an_active_namespace_is_left_alone() -> None:
    assert namespaces.decide(namespace(), [(POD, pod("web", uid="p"))], NOW).actions == ()


def test_contents_are_deleted_and_what_remains_is_told() -> None:
    update, together = namespaces.decide(ending(), [(POD, pod("web", uid="p"))], NOW).actions
    assert isinstance(together, Together)
    assert [action.ref for action in together.actions] == [POD]
    condition = meta.condition(update.obj, "NamespaceContentRemaining")
    assert (condition["status"], condition["reason"]) == ("True", "SomeResourcesRemain")
    assert "pods. has 1 resource instances" in condition["message"]


def test_it_waits_for_contents_that_are_ending_and_names_their_finalizers() -> None:
    held = pod("web", uid="p", deletionTimestamp=instants.text(NOW), finalizers=["example.com/slow"])
    (update,) = namespaces.decide(ending(), [(POD, held)], NOW).actions
    condition = meta.condition(update.obj, "NamespaceFinalizersRemaining")
    assert condition["reason"] == "SomeFinalizersRemain"
    assert "example.com/slow in 1 resource instances" in condition["message"]


def test_an_empty_namespace_reports_before_it_is_finalized() -> None:
    (report,) = namespaces.decide(ending(), [], NOW).actions
    assert report.subresource == "status"
    events, finalize = namespaces.decide(report.obj, [], NOW).actions
    assert events == DeleteAll("", "events", "shop")
    assert isinstance(finalize, Update)
    assert finalize.subresource == "finalize"
    assert finalize.obj["spec"]["finalizers"] == []


def test_finalizers_of_others_are_kept() -> None:
    found = ending()
    found["spec"]["finalizers"] = ["kubernetes", "example.com/guard"]
    (report,) = namespaces.decide(found, [], NOW).actions
    assert namespaces.decide(report.obj, [], NOW).actions[1].obj["spec"]["finalizers"] == ["example.com/guard"]
