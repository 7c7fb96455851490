from typing import Any

import pytest

from shared.errors import BadRequest
from shared.objects import registry, selectors
from shared.objects.registry import Resource

LABELS = {"set": "x", "tier": "web", "n": "7", "e": "", "example.com/a": "b"}


def served(group: str, plural: str) -> Resource:
    found = registry.by_plural(group, "v1", plural)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("set", True),
        ("missing", False),
        ("!missing", True),
        ("!set", False),
        ("set=x,tier==web", True),
        ("tier!=web", False),
        ("missing!=web", True),
        ("tier in (web,db)", True),
        ("tier in (db)", False),
        ("tier notin (db)", True),
        ("missing notin (db)", True),
        ("missing in (db)", False),
        ("tier in ()", False),
        ("e in (a,)", True),
        ("n>6", True),
        ("n<7", False),
        ("tier>6", False),
        ("e=", True),
        (" set = x , tier = web ", True),
        ("example.com/a=b", True),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert selectors.parse_labels(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text",
    [
        "=",
        "a=b=c",
        "a in b",
        "a in (b",
        "a in (b c)",
        "a,,b",
        ",",
        "a b",
        "!",
        "a=@",
        "-a",
        "n>x",
        "a!b",
        "UP.er/a=b",
        "a" * 64,
    ],
)
def test_a_malformed_label_selector_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        selectors.parse_labels(text)


def test_an_absent_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not selectors.from_label_selector(None).matches(LABELS)
    assert selectors.from_label_selector({}).matches({})
    assert selectors.from_label_selector({}).everything


def test_a_selector_struct_needs_all_of_its_parts() -> None:
    selector = selectors.from_label_selector(
        {
            "matchLabels": {"set": "x"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["web"]},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.matches(LABELS)
    assert not selector.matches({**LABELS, "gone": ""})


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=b", True),
        ("metadata.name!=b", False),
        ("spec.nodeName=", True),
        ("spec.nodeName!=", False),
        ("spec.hostNetwork=false", True),
        ("status.phase=Running,metadata.namespace==n", True),
    ],
)
def test_field_selectors_compare_absent_fields_as_zero_values(text: str, matches: bool) -> None:
    pod = {"metadata": {"name": "b", "namespace": "n"}, "spec": {}, "status": {"phase": "Running"}}
    assert selectors.parse_fields(served("", "pods"), text).matches(pod) is matches


@pytest.mark.parametrize(
    "text", ["metadata.name in (a)", "spec.containers=1", "a", "metadata.name=a=b", "metadata.name=a\\x"]
)
def test_an_unsupported_field_selector_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        selectors.parse_fields(served("", "pods"), text)


def test_escaped_characters_are_part_of_the_value() -> None:
    selector = selectors.parse_fields(served("", "pods"), r"metadata.name=a\,b\=c")
    assert selector.exact("metadata.name") == "a,b=c"


@pytest.mark.parametrize(
    ("group", "plural", "text", "obj"),
    [
        ("", "events", "source=kubelet", {"source": {"component": "kubelet"}}),
        ("", "events", "source=sched", {"reportingComponent": "sched"}),
        ("", "events", "involvedObject.name=p", {"involvedObject": {"name": "p"}}),
        ("batch", "jobs", "status.successful=2", {"status": {"succeeded": 2}}),
        ("batch", "jobs", "status.successful=0", {}),
        ("", "nodes", "spec.unschedulable=true", {"spec": {"unschedulable": True}}),
    ],
)
def test_fields_with_rules_of_their_own(group: str, plural: str, text: str, obj: dict[str, Any]) -> None:
    assert selectors.parse_fields(served(group, plural), text).matches(obj)
