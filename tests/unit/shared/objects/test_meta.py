from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.objects import meta

NOW = "2026-11-24T08:15:35Z"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def pod(**status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "status": status,
    }


@given(JSON)
def test_a_copy_is_equal_and_shares_no_containers(value: Any) -> None:
    def containers(one: Any) -> set[int]:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        return set().union(*map(containers, inner), {id(one)} if isinstance(one, dict | list) else set())

    copied = meta.copy(value)
    assert copied == value
    assert not containers(copied) & containers(value)


def test_the_controller_is_the_owner_that_says_so() -> None:
    owner = pod()
    child = {"metadata": {"name": "c", "ownerReferences": [meta.owner_reference(owner, controller=False)]}}
    assert meta.controller_of(child) is None
    child["metadata"]["ownerReferences"].append(meta.owner_reference(owner))
    assert meta.is_controlled_by(child, owner)


def test_the_transition_time_moves_with_the_status_only() -> None:
    conditions: list[dict[str, Any]] = []
    assert meta.set_condition(conditions, "Ready", "False", "Why", "text", now=NOW)
    assert not meta.set_condition(conditions, "Ready", "False", "Why", "text", now="2027-01-01T00:00:00Z")
    assert meta.set_condition(conditions, "Ready", "False", "Other", now="2027-01-01T00:00:00Z")
    assert conditions == [{"type": "Ready", "status": "False", "reason": "Other", "lastTransitionTime": NOW}]
    assert meta.set_condition(conditions, "Ready", "True", now="2027-01-01T00:00:00Z")
    assert conditions[0]["lastTransitionTime"] == "2027-01-01T00:00:00Z"


def test_generated_names_fit_and_use_the_safe_alphabet() -> None:
    name = meta.generate_name("x" * 100)
    assert len(name) == 63
    assert set(name[-5:]) <= set(meta.SAFE_ALPHABET)


def test_a_template_hash_ignores_key_order_and_heeds_collisions() -> None:
    first, second = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert meta.hash_template(first) == meta.hash_template(second)
    assert meta.hash_template(first) != meta.hash_template(first, 1)
    assert set(meta.hash_template(first)) <= set(meta.SAFE_ALPHABET)
