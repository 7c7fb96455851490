"""`"%d of %s".format([...])`: the verbs s d f e b x X o and %%, as cel-go's string.format defines them."""

from __future__ import annotations

import math
import re
from typing import Any

from shared.objects.cel.declarations import size
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.values import Duration, Timestamp, TypeValue, UInt, format_double

_VERB = re.compile(r"%(?:\.([0-9]+))?(.)?", re.DOTALL)
_MAX_PRECISION = 100


def render(template: str, arguments: list[Any]) -> str:
    """The text with each verb replaced; EvaluationError if a verb and its argument do not fit."""
    remaining = iter(arguments)

    def one(match: re.Match[str]) -> str:
        verb = match[2]
        if verb == "%":
            return "%"
        if verb is None:
            raise EvaluationError("unexpected end of string")
        if verb not in _VERBS:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
        try:
            argument = next(remaining)
        except StopIteration:
            raise EvaluationError(f"index {len(arguments)} out of range") from None
        precision = int(match[1]) if match[1] else 6
        if precision > _MAX_PRECISION:
            raise EvaluationError(f"precision {precision} is too large, at most {_MAX_PRECISION}")
        return _VERBS[verb](argument, precision)

    return _VERB.sub(one, template)


def cost(template: str, arguments: list[Any]) -> int:
    return 1 + (len(template) + sum(map(_length, arguments))) // 10


def _length(value: Any) -> int:
    if isinstance(value, list):
        return 2 + sum(map(_length, value))
    if isinstance(value, dict):
        return 2 + sum(_length(key) + _length(held) for key, held in value.items())
    return size(value) + 20


def _text(value: Any, precision: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | Timestamp | Duration):
        return str(int(value)) if isinstance(value, int) else str(value)
    if isinstance(value, float):
        return _special(value) or format_double(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, list):
        return f"[{', '.join(_text(one, precision) for one in value)}]"
    if isinstance(value, dict):
        pairs = sorted((_text(key, precision), _text(held, precision)) for key, held in value.items())
        return f"{{{', '.join(f'{key}: {held}' for key, held in pairs)}}}"
    raise EvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, "
        "types, durations, and timestamps"
    )


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else ""


def _decimal(value: Any, precision: int) -> str:
    if isinstance(value, float):
        return _special(value) or _wrong("decimal", "integers")
    return str(int(value)) if _is_int(value) else _wrong("decimal", "integers")


def _fixed(value: Any, precision: int) -> str:
    return _special(_real(value, "fixed-point")) or f"{value:.{precision}f}"


def _scientific(value: Any, precision: int) -> str:
    return _special(_real(value, "scientific")) or f"{value:.{precision}e}"


def _binary(value: Any, precision: int) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return format(int(value), "b") if _is_int(value) else _wrong("binary", "integers and bools")


def _octal(value: Any, precision: int) -> str:
    return format(int(value), "o") if _is_int(value) else _wrong("octal", "integers")


def _hexadecimal(value: Any, precision: int) -> str:
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, bytes):
        return value.hex()
    return format(int(value), "x") if _is_int(value) else _wrong("hex", "integers, byte buffers, and strings")


def _upper_hexadecimal(value: Any, precision: int) -> str:
    return _hexadecimal(value, precision).upper()


def _is_int(value: Any) -> bool:
    return isinstance(value, int | UInt) and not isinstance(value, bool)


def _real(value: Any, clause: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong(clause, "doubles")
    return float(value)


def _wrong(clause: str, wanted: str) -> str:
    raise EvaluationError(f"error during formatting: {clause} clause can only be used on {wanted}")


_VERBS = {
    "s": _text,
    "d": _decimal,
    "f": _fixed,
    "e": _scientific,
    "b": _binary,
    "o": _octal,
    "x": _hexadecimal,
    "X": _upper_hexadecimal,
}
