"""cel-go's strings extension (version 2): charAt, indexOf, join, split, format and the like, in code points."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from shared.objects.cel.declarations import Library, size, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.library import formatting
from shared.objects.cel.types import BOOL, BYTES, DYN, INT, STRING, list_of

library = Library()
_STRINGS = list_of(STRING)
_SPACES = "\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if part == "":
        return start
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, last: int | None = None) -> int:
    if last is not None and not 0 <= last <= len(text):
        raise EvaluationError(f"index out of range: {last}")
    if part == "":
        return len(text) if last is None else last
    return text.rfind(part) if last is None else text.rfind(part, 0, last + len(part))


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, limit)


def _replace_cost(text: str, old: str, new: str, limit: int = -1) -> int:
    places = len(text) // max(1, len(old)) + 1
    return 1 + (len(text) + (min(places, limit) if limit >= 0 else places) * len(new)) // 10


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator == "":
        if limit < 0 or len(text) <= limit:
            return list(text)
        return [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if end is None:
        return text[start:]
    if not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {end}")
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _join(texts: list[Any], separator: str = "") -> str:
    for one in texts:
        if type(one) is not str:
            raise EvaluationError("no such overload")
    return separator.join(texts)


def _join_cost(texts: list[Any], separator: str = "") -> int:
    return 1 + sum(size(one) + len(separator) for one in texts) // 10


def _quote(text: str) -> str:
    named = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    named |= {"\\": "\\\\", '"': '\\"'}
    return '"' + "".join(named.get(one, one) for one in text) + '"'


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise EvaluationError("illegal base64 data") from exc


_READ = traversal(0)
library.method("startsWith", (STRING, STRING), BOOL, str.startswith, cost=traversal(1))
library.method("endsWith", (STRING, STRING), BOOL, str.endswith, cost=traversal(1))
library.method(
    "contains",
    (STRING, STRING),
    BOOL,
    lambda text, part: part in text,
    cost=lambda text, part: (1 + len(text) // 10) * (1 + len(part) // 10),
)
library.method("charAt", (STRING, INT), STRING, _char_at)
library.method("indexOf", (STRING, STRING), INT, _index_of, cost=_READ)
library.method("indexOf", (STRING, STRING, INT), INT, _index_of, cost=_READ)
library.method("lastIndexOf", (STRING, STRING), INT, _last_index_of, cost=_READ)
library.method("lastIndexOf", (STRING, STRING, INT), INT, _last_index_of, cost=_READ)
library.method("lowerAscii", (STRING,), STRING, lambda text: text.translate(_LOWER), cost=_READ)
library.method("upperAscii", (STRING,), STRING, lambda text: text.translate(_UPPER), cost=_READ)
library.method("replace", (STRING, STRING, STRING), STRING, _replace, cost=_replace_cost)
library.method("replace", (STRING, STRING, STRING, INT), STRING, _replace, cost=_replace_cost)
library.method("split", (STRING, STRING), _STRINGS, _split, cost=_READ)
library.method("split", (STRING, STRING, INT), _STRINGS, _split, cost=_READ)
library.method("substring", (STRING, INT), STRING, _substring, cost=_READ)
library.method("substring", (STRING, INT, INT), STRING, _substring, cost=_READ)
library.method("trim", (STRING,), STRING, lambda text: text.strip(_SPACES), cost=_READ)
library.method("reverse", (STRING,), STRING, lambda text: text[::-1], cost=_READ)
library.method("join", (_STRINGS,), STRING, _join, cost=_join_cost)
library.method("join", (_STRINGS, STRING), STRING, _join, cost=_join_cost)
library.method("format", (STRING, list_of(DYN)), STRING, formatting.render, cost=formatting.cost)
library.function("strings.quote", (STRING,), STRING, _quote, cost=_READ)
library.function("base64.encode", (BYTES,), STRING, lambda data: base64.b64encode(data).decode(), cost=_READ)
library.function("base64.decode", (STRING,), BYTES, _decode, cost=_READ)
library.function(
    "jsonpatch.escapeKey",
    (STRING,),
    STRING,
    lambda text: text.replace("~", "~0").replace("/", "~1"),
    cost=traversal(0),
)
