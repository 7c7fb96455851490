"""The JSON of an object that is written must be the JSON of the record that comes of it, to the byte."""

from typing import Any

import pytest

from services.apiserver.forms import Form
from shared.events import envelope
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.objects import json
from shared.state.record import from_message

METADATA = {"name": "web", "labels": {"app": "wéb"}, "managedFields": [{"manager": "k", "fieldsV1": {"f:a": {}}}]}
OBJECTS = (
    {"apiVersion": "v1", "kind": "Pod", "metadata": METADATA, "spec": {"containers": []}, "status": {}},
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": METADATA},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "7", **METADATA}, "spec": {}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**METADATA, "resourceVersion": "7"}, "data": {"a": "\n"}},
)


@pytest.mark.parametrize("obj", OBJECTS)
def test_the_answer_is_what_a_reader_of_the_log_would_make(obj: dict[str, Any]) -> None:
    message = envelope.encode("id", envelope.PUT, obj, Author("admin"))
    record = from_message(Ref("", "pods", "default", "web"), 42, message, None, {})
    assert Form(obj).at(42) == record.json


@pytest.mark.parametrize("obj", OBJECTS)
def test_the_size_is_that_of_the_object_as_it_is(obj: dict[str, Any]) -> None:
    assert Form(obj).size == len(json.encode(obj))


def test_a_record_takes_the_json_of_its_writer_for_its_own() -> None:
    obj = OBJECTS[0]
    message = envelope.encode("id", envelope.PUT, obj, Author("admin"))
    adopting, other = (from_message(Ref("", "pods", "default", "web"), 42, message, None, {}) for _ in range(2))
    adopting.adopt(Form(obj).at(42))
    assert (adopting.json, adopting.object) == (other.json, other.object)
    assert list(adopting.object["metadata"]) == list(other.object["metadata"])
