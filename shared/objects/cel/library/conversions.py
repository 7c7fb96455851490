"""Conversions between types: int("7"), string(1.5), timestamp("...") and so on."""

from __future__ import annotations

import math
import re

from shared.objects.cel import types
from shared.objects.cel.declarations import Library, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.library.operators import checked_int, checked_uint
from shared.objects.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, A
from shared.objects.cel.values import (
    Timestamp,
    UInt,
    checked_timestamp,
    format_double,
    parse_duration,
    parse_timestamp,
    type_of,
)

library = Library()
_SECOND = 10**9
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _int_of_double(value: float) -> int:
    if math.isnan(value) or math.isinf(value):
        raise EvaluationError("integer overflow")
    return checked_int(int(value))


def _uint_of_double(value: float) -> UInt:
    if math.isnan(value) or math.isinf(value):
        raise EvaluationError("unsigned integer overflow")
    return checked_uint(int(value))


def _int_of_string(text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,20}", text, re.ASCII) is None:
        raise EvaluationError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return checked_int(int(text))


def _uint_of_string(text: str) -> UInt:
    if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII) is None:
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return checked_uint(int(text))


def _double_of_string(text: str) -> float:
    try:
        if text != text.strip() or "_" in text:
            raise ValueError
        return float(text)
    except ValueError as exc:
        raise EvaluationError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from exc


def _bool_of_string(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise EvaluationError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in _TRUE


def _string_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from exc


def _timestamp_of_int(seconds: int) -> Timestamp:
    return checked_timestamp(seconds * _SECOND)


for _kind in (BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION):
    library.function(_kind.name, (_kind,), _kind, lambda value: value)

library.function("int", (UINT,), INT, lambda a: checked_int(int(a)))
library.function("int", (DOUBLE,), INT, _int_of_double)
library.function("int", (STRING,), INT, _int_of_string)
library.function("int", (TIMESTAMP,), INT, lambda a: a.nanos // _SECOND)
library.function("int", (DURATION,), INT, lambda a: a.nanos)
library.function("uint", (INT,), UINT, checked_uint)
library.function("uint", (DOUBLE,), UINT, _uint_of_double)
library.function("uint", (STRING,), UINT, _uint_of_string)
library.function("double", (INT,), DOUBLE, float)
library.function("double", (UINT,), DOUBLE, float)
library.function("double", (STRING,), DOUBLE, _double_of_string)
library.function("bool", (STRING,), BOOL, _bool_of_string)
library.function("string", (BOOL,), STRING, lambda a: "true" if a else "false")
library.function("string", (INT,), STRING, str)
library.function("string", (UINT,), STRING, lambda a: str(int(a)))
library.function("string", (DOUBLE,), STRING, format_double)
library.function("string", (BYTES,), STRING, _string_of_bytes, cost=traversal(0))
library.function("string", (TIMESTAMP,), STRING, str)
library.function("string", (DURATION,), STRING, str)
library.function("bytes", (STRING,), BYTES, str.encode, cost=traversal(0))
library.function("timestamp", (STRING,), TIMESTAMP, parse_timestamp)
library.function("timestamp", (INT,), TIMESTAMP, _timestamp_of_int)
library.function("duration", (STRING,), DURATION, parse_duration, cost=traversal(0))
library.function("type", (A,), types.type_of(A), type_of)
