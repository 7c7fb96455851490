"""Subjects are reversible names that fit the broker's rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.events.subjects import (
    Ref,
    agent_subject,
    decode_name,
    event_subject_of,
    inbox_prefix,
    log_subject,
    node_subject,
    ref_of,
    resource_filter,
    subject_of,
    token,
)

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
GROUP = st.one_of(st.just(""), st.lists(LABEL, min_size=1, max_size=4).map(".".join))
REFS = st.builds(Ref, GROUP, LABEL, st.one_of(st.just(""), LABEL), st.text(min_size=1, max_size=30))


@given(REFS)
@example(Ref("rbac.authorization.k8s.io", "clusterroles", "", "system:node-proxier"))
@example(Ref("", "pods", "default", "a..b"))
@example(Ref("", "pods", "default", ".%2E*>"))
def test_the_subject_of_an_object_gives_back_its_ref(ref: Ref) -> None:
    assert ref_of(subject_of(ref)) == ref


@given(REFS)
@example(Ref("", "pods", "default", "..."))
def test_a_subject_has_no_empty_tokens_wildcards_or_blanks(ref: Ref) -> None:
    subject = subject_of(ref)
    assert all(subject.split("."))
    assert re.fullmatch(r"[A-Za-z0-9._:%-]+", subject)


@given(st.text(min_size=1, max_size=30))
def test_a_token_is_one_token_and_reversible(name: str) -> None:
    assert "." not in token(name)
    assert decode_name(token(name)) == name


def test_subjects_read_as_documented() -> None:
    assert subject_of(Ref("", "pods", "default", "web-1")) == "s.core.pods.default.web-1"
    assert subject_of(Ref("networking.k8s.io", "ingresses", "a", "b.c")) == "s.networking_k8s_io.ingresses.a.b.c"
    assert subject_of(Ref("", "nodes", "", "node-1")) == "s.core.nodes._.node-1"
    assert event_subject_of(Ref("events.k8s.io", "events", "default", "x.17")) == "e.core.events.default.x.17"
    assert resource_filter("apps", "deployments") == "s.apps.deployments.>"
    assert resource_filter("", "pods", "default") == "s.core.pods.default.>"
    assert node_subject("n.example", "request") == "api.node.n%2Eexample.request"
    assert agent_subject("node-1", "open") == "agent.node-1.open"
    assert log_subject("node-1", "default", "web", "main") == "logs.node-1.default.web.main"
    assert inbox_prefix("node-node-1") == "_INBOX_node-node-1"


@pytest.mark.parametrize("subject", ["b.x", "s.core.pods", "x.core.pods.default.a", ""])
def test_other_subjects_are_no_objects(subject: str) -> None:
    with pytest.raises(ValueError, match="not the subject of an object"):
        ref_of(subject)
