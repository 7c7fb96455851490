import contextlib
import json as plain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequest
from shared.objects import json

YAML = b"""---
apiVersion: v1
name: y
when: 2020-01-01
mode: 0777
ratio: 1:30
big: 1e3
half: 1.5
nothing:
base: &base {q: 1}
copy: {<<: *base, z: 2}
1: int key
---
second: document
"""


def test_repeated_keys_are_named_and_the_last_one_wins() -> None:
    body = b'{"metadata":{"name":"x","name":"y"},"l":[{"q":1,"q":2}],"metadata2":1}'
    decoded = json.decode(body)
    assert decoded.object == {"metadata": {"name": "y"}, "l": [{"q": 2}], "metadata2": 1}
    assert decoded.duplicates == ['duplicate field "metadata.name"', 'duplicate field "l[0].q"']


def test_a_null_body_is_an_empty_object() -> None:
    assert json.decode(b"null").object == {}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"apiVersion":"v1"', "unexpected end of JSON input"),
        (b"", "unexpected end of JSON input (<empty>)"),
        (b"{} trailing", "invalid character 't' after top-level value"),
        (b'{"k":"a\tb"}', "invalid character '\\t' in string"),
        (b'{"a":NaN}', "invalid character 'N'"),
        (b"not json", "invalid character 'o' in literal null (expecting 'u')"),
        (b'{"a":treu}', "invalid character 'e' in literal true (expecting 'u')"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a":1e999}', "out of range"),
        (b"\xff{}", "not UTF-8"),
        (b"[]", "array"),
        (b'"x"', "string"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, complaint: str) -> None:
    with pytest.raises(BadRequest) as caught:
        json.decode(body)
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"a: [unclosed\n", "line 1: did not find expected ',' or ']'"),
        (b"a: 1\nb: 'x\n", "line 3: found unexpected end of stream"),
        (b"a: ]", "did not find expected node content"),
    ],
)
def test_a_mistake_in_yaml_is_at_the_line_that_go_yaml_names(body: bytes, complaint: str) -> None:
    with pytest.raises(BadRequest) as caught:
        json.decode(body, "application/yaml")
    assert caught.value.message == f"the object provided is unrecognized: yaml: {complaint}"


def test_what_utf8_and_64_bits_cannot_hold_is_read_as_go_reads_it() -> None:
    decoded = json.decode(b'{"a":"\\ud800x","b":99999999999999999999}').object
    assert decoded == {"a": "\ufffdx", "b": 1e20}
    assert json.encode(decoded)


@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(), st.lists)
    )
)
def test_what_is_encoded_is_decoded(value: dict[str, Any]) -> None:
    assert json.decode(json.encode(value)).object == value
    assert plain.loads(json.encode(value)) == value


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    assert json.decode(YAML, "application/yaml").object == {
        "apiVersion": "v1",
        "name": True,
        "when": "2020-01-01",
        "mode": 0o777,
        "ratio": "1:30",
        "big": 1000,
        "half": 1.5,
        "nothing": None,
        "base": {"q": 1},
        "copy": {"q": 1, "z": 2},
        "1": "int key",
    }


def test_repeated_yaml_keys_are_named_with_their_line() -> None:
    decoded = json.decode(b"a: 1\nb: 2\na: 3\n", "application/yaml; charset=utf-8")
    assert decoded.object == {"a": 3, "b": 2}
    assert decoded.duplicates == ['line 3: key "a" already set in map']


@pytest.mark.parametrize(
    "body",
    [
        b"a: [unclosed\n",
        b"!!python/object/apply:os.system [x]",
        b"a: &a\n  b: *a\n",
        b"a: &a ["
        + b"x," * 10
        + b"]\n"
        + b"".join(b"%c: &%c [" % (c, c) + b"*%c," % (c - 1) * 10 + b"]\n" for c in range(ord("b"), ord("h"))),
        b"\x00",
    ],
    ids=["unclosed", "object tag", "cycle", "alias bomb", "nul"],
)
def test_a_malformed_or_hostile_yaml_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        json.decode(body, "application/yaml")


def test_aliases_do_not_share_data() -> None:
    decoded = json.decode(b"a: &x {k: 1}\nb: *x\n", "application/yaml").object
    decoded["a"]["k"] = 2
    assert decoded["b"] == {"k": 1}


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    for media in ("application/json", "application/yaml"):
        with contextlib.suppress(BadRequest):
            json.decode(data, media)
