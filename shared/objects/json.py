"""Request and answer bodies as JSON or YAML, with what Kubernetes wants to know that plain parsers do not tell.

A repeated key is legal JSON, the last one wins; but field validation must name it, so bodies are read with a hook that
sees every pair. What YAML is, `shared.objects.yaml` knows.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import msgspec

from shared.errors import BadRequest

MAX_DEPTH = 250
"""Nesting allowed in a body; far above any real object, and low enough for recursive code over it."""


class Decoded(NamedTuple):
    """A body: the object, and one message for each repeated key."""

    object: dict[str, Any]
    duplicates: list[str]


_encoder = msgspec.json.Encoder()
_quick_decoder = msgspec.json.Decoder()


def encode(obj: Any) -> bytes:
    """Compact JSON."""
    return _encoder.encode(obj)


def decode(data: bytes, content_type: str = "application/json") -> Decoded:
    """Read an object from a JSON body, or from a YAML one if the media type ends in yaml.

    A body of `null` is an empty object, as it is for Kubernetes. BadRequest if the body is malformed, nested deeper
    than MAX_DEPTH, or not an object.
    """
    value, duplicates = _parse(data, content_type)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise BadRequest(f"the object provided is unrecognized: cannot read an object from a {json_type(value)}")
    return Decoded(value, duplicates)


def parse(data: bytes, content_type: str = "application/json") -> Any:
    """Any value of a body, for example the list of a JSON patch; BadRequest as for `decode`."""
    return _parse(data, content_type)[0]


def json_type(value: Any) -> str:
    """What Go's JSON package calls the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _parse(data: bytes, content_type: str) -> tuple[Any, list[str]]:
    if not _is_yaml(content_type):
        return _parse_json(data)
    # JSON is YAML, programs that may send either send it, and a YAML parser takes a hundred times as long over it
    if data.startswith(b"{") and (plain := _parse_plain(data)) is not None:
        return plain, []
    # nearly a megabyte that a process needs only once somebody sends YAML
    from shared.objects import yaml

    return yaml.parse(data)


def _is_yaml(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower().endswith("yaml")


class _KeyTwiceError(Exception):
    """An object has a key more than once; the body is then read again by `_pairs_decoder`."""


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, repeated keys included."""


def _from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _KeyTwiceError
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


def read_float(text: str) -> float:
    """A number with a fraction or an exponent; ValueError if it is too large for a float."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"number {text} out of range")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_from_pairs, parse_constant=_refuse_constant, parse_float=read_float)
_pairs_decoder = json.JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_float=read_float)

_WIDE_NUMBER = b"\xcf"
_LONG_NUMBER = re.compile(rb"\d{19}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def _parse_json(data: bytes) -> tuple[Any, list[str]]:
    plain = _parse_plain(data)
    if plain is not None:
        return plain, []
    duplicates: list[str] = []
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise _unrecognized("json parse error: body is not UTF-8", data) from exc
    try:
        try:
            value = _decoder.decode(text)
        except _KeyTwiceError:
            value = _last_wins(_pairs_decoder.decode(text), "", duplicates)
    except json.JSONDecodeError as exc:
        raise _unrecognized(f"json parse error: {syntax_error(exc)}", data) from exc
    except RecursionError as exc:
        raise BadRequest(f"body is nested deeper than {MAX_DEPTH} levels") from exc
    except ValueError as exc:
        raise _unrecognized(f"json parse error: {exc}", data) from exc
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise BadRequest(f"body is nested deeper than {MAX_DEPTH} levels")
    if _SURROGATE_ESCAPE.search(data) or _LONG_NUMBER.search(data):
        value = _portable(value)
    return value, duplicates


def _parse_plain(data: bytes) -> Any:
    """A body that is exactly what encoding its value gives: it repeats no key and holds nothing unusual, as nearly all
    bodies that programs send. None for every other one, which is then read with care."""
    try:
        value = _quick_decoder.decode(data)
        written = data.rstrip()
        # taking spaces out keeps repeated keys, so what is compared is still what the client wrote
        if _encoder.encode(value) != written and _encoder.encode(value) != msgspec.json.format(written, indent=-1):
            return None
        # msgpack marks what needs more than 32 bits; looking for 19 digits takes ten times as long as all the rest
        if _WIDE_NUMBER in msgspec.msgpack.encode(value) and _LONG_NUMBER.search(data):
            return None
    except (msgspec.DecodeError, RecursionError, UnicodeError, OverflowError):
        return None
    nested = data.count(b"{") + data.count(b"[") > MAX_DEPTH and depth(value) > MAX_DEPTH
    return None if nested else value


def _last_wins(value: Any, path: str, duplicates: list[str]) -> Any:
    if isinstance(value, _Pairs):
        made: dict[str, Any] = {}
        for key, item in value:
            where = f"{path}.{key}" if path else key
            if key in made:
                duplicates.append(f'duplicate field "{where}"')
            made[key] = _last_wins(item, where, duplicates)
        return made
    if isinstance(value, list):
        return [_last_wins(item, f"{path}[{index}]", duplicates) for index, item in enumerate(value)]
    return value


def _unrecognized(why: str, data: bytes) -> BadRequest:
    shown = "<empty>" if not data else data[:30].decode(errors="replace") + (" ..." if len(data) > 30 else "")
    return BadRequest(f"the object provided is unrecognized: couldn't get version/kind; {why} ({shown})")


def syntax_error(exc: json.JSONDecodeError) -> str:
    """What Go's JSON package says of the same mistake."""
    rest = exc.doc[exc.pos :].lstrip(" \t\r\n")
    if not rest or exc.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    if exc.msg == "Extra data":
        return f"invalid character {rest[0]!r} after top-level value"
    if exc.msg.startswith("Invalid control character"):
        return f"invalid character {exc.doc[exc.pos]!r} in string"
    if exc.msg.startswith("Expecting ','"):
        return f"invalid character {rest[0]!r} after value"
    if exc.msg.startswith("Expecting property name"):
        return f"invalid character {rest[0]!r} looking for beginning of object key string"
    for literal in ("null", "true", "false"):
        if rest[0] == literal[0]:
            for given, expected in zip(rest, literal, strict=False):
                if given != expected:
                    return f"invalid character {given!r} in literal {literal} (expecting {expected!r})"
    return f"invalid character {rest[0]!r} looking for beginning of value"


def is_crowded(value: Any, most: int) -> bool:
    """Whether JSON data consists of more than `most` lists and objects."""
    found, level = 0, [value]
    while level:
        found += len(level)
        if found > most:
            return True
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return False


def depth(value: Any) -> int:
    """How deeply lists and objects are nested in JSON data."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return deepest


_SURROGATE = re.compile("[\ud800-\udfff]")


def _portable(value: Any) -> Any:
    """What Go would have read: U+FFFD for half a surrogate pair, a float for an integer beyond 64 bits."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", key): _portable(item) for key, item in value.items()}
    return value
