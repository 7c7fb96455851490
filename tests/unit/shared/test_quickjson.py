"""JSON without the json package says the same as with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import quickjson

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_and_read_is_what_json_has(value: Any) -> None:
    assert quickjson.dumps(value) == json.dumps(value)
    assert quickjson.loads(json.dumps(value)) == value
    assert quickjson.loads(json.dumps(value, indent=2, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("text", ["", "{", "[1,", "nul", '{"a":1}x', '{"a" 1}', "\ufeff{}", b"\xff", b"", " "])
def test_what_is_no_json_is_refused_in_the_words_of_json(text: str | bytes) -> None:
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        json.loads(text)
    with pytest.raises(type(expected.value)) as found:
        quickjson.loads(text)
    assert str(found.value) == str(expected.value)


def test_what_has_no_form_in_json_is_not_written() -> None:
    with pytest.raises(TypeError, match="object of type set"):
        quickjson.dumps({"a": {1}})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular"):
        quickjson.dumps(endless)
