"""`wherry pod`: what the annotation becomes."""

import pytest

from shared.cli.cluster import ClusterError
from shared.cli.pods import ANNOTATION, annotation


def pod(value=None):
    metadata = {"name": "p", "annotations": {ANNOTATION: value} if value else {}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}


@pytest.mark.parametrize(
    ("present", "container", "suspend", "expected"),
    [
        (None, "", True, "*"),
        ("*", "", False, None),
        ("a", "", False, None),
        (None, "b", True, "b"),
        ("b", "a", True, "a,b"),
        ("a,b", "a", False, "b"),
        ("b", "b", False, None),
        ("*", "b", False, "a,c"),
        ("*", "b", True, "*"),
    ],
)
def test_the_annotation_names_what_stands_still(present, container, suspend, expected):
    assert annotation(pod(present), container, suspend=suspend) == expected


def test_an_unknown_container_is_refused_with_those_there_are():
    with pytest.raises(ClusterError, match="has no container 'x'; it has a, b, c"):
        annotation(pod(), "x", suspend=True)
