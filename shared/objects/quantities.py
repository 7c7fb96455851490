"""Quantities such as 500m, 1Gi and 2e3, read and written as apimachinery's resource.Quantity does.

Reading keeps nine decimals, rounding up, and caps at 2^63-1; writing is canonical: the largest suffix that leaves no
fraction, in the family the quantity was written in.
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"

_PARTS = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([a-zA-Z]*[-+]?[0-9]*)", re.ASCII)
_ALLOWED = re.compile(r"[+-]?[0-9.]+[eEinumkKMGTP]*[-+]?[0-9]*", re.ASCII)
# what Kubernetes keeps as it was written, leading zeros and all
_PLAIN = re.compile(r"[0-9]{1,18}", re.ASCII)
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = ("", *_BINARY)
_NANO = 10**9
_MAX = 2**63 - 1


def parse(text: str) -> Decimal:
    """The exact value; ValueError in Kubernetes' words when the text is no quantity."""
    nano, _ = _read(text)
    return Decimal(nano).scaleb(-9)


def value(text: str) -> int:
    """The value in whole units, rounded away from zero as Quantity.Value does."""
    nano, _ = _read(text)
    return _divide_up(nano, _NANO)


def milli(text: str) -> int:
    """The value in thousandths, rounded away from zero as Quantity.MilliValue does."""
    nano, _ = _read(text)
    return _divide_up(nano, 10**6)


@functools.lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The text the server would answer with: 1024Ki is 1Mi, 0.5 is 500m, 1.5Gi is 1536Mi, and 0010 stays as it is."""
    if _PLAIN.fullmatch(text):
        return text
    nano, family = _read(text)
    return _write(nano, family)


@functools.lru_cache(maxsize=4096)
def rounded_to_milli(text: str) -> str:
    """The canonical text after rounding up to thousandths, as the defaults of resource lists do."""
    if _PLAIN.fullmatch(text):
        return text
    nano, family = _read(text)
    return _write(_divide_up(nano, 10**6) * 10**6, family)


def format_milli(amount: int) -> str:
    """The canonical text of thousandths, for example 1500 -> 1500m and 2000 -> 2."""
    return _write(amount * 10**6, "decimal")


def add(left: str, right: str) -> str:
    """The sum, in the family of `left` unless that is zero, as Quantity.Add does."""
    return _combine(left, right, 1)


def subtract(left: str, right: str) -> str:
    """The difference, in the family of `left` unless that is zero, as Quantity.Sub does."""
    return _combine(left, right, -1)


def _combine(left: str, right: str, sign: int) -> str:
    amount, family = _read(left)
    other, other_family = _read(right)
    return _write(amount + sign * other, family if amount else other_family)


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> tuple[int, str]:
    """The value in billionths, and the family of suffixes it was written with: decimal, binary or exponent."""
    if not text or _ALLOWED.fullmatch(text) is None:
        raise ValueError(FORMAT_WRONG)
    match = _PARTS.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(FORMAT_WRONG)
    sign, whole, fraction, suffix = match.groups()
    digits = int(whole + (fraction or ""))
    places = len(fraction or "")
    family, numerator, exponent = _scale(suffix)
    scaled = digits * numerator
    shift = exponent - places + 9
    nano = scaled * 10**shift if shift >= 0 else -(-scaled // 10**-shift)
    nano = min(nano, _MAX * _NANO)
    return (-nano if sign == "-" else nano), family


def _scale(suffix: str) -> tuple[str, int, int]:
    if suffix in _DECIMAL:
        return "decimal", 1, _DECIMAL[suffix]
    if suffix in _BINARY:
        return "binary", 1024 ** _BINARY[suffix], 0
    match = _EXPONENT.fullmatch(suffix)
    if match is None or len(match[1]) > 5:
        raise ValueError(SUFFIX_WRONG)
    return "exponent", 1, int(match[1])


def _write(nano: int, family: str) -> str:
    if nano == 0:
        return "0"
    if family == "binary" and abs(nano) >= 1024 * _NANO and nano % _NANO == 0:
        units, power = nano // _NANO, 0
        while units % 1024 == 0 and power < len(_BINARY):
            units, power = units // 1024, power + 1
        return f"{units}{_BINARY_SUFFIX[power]}"
    exponent = -9
    while nano % 1000 == 0 and exponent < 18:
        nano, exponent = nano // 1000, exponent + 3
    if family == "exponent":
        return f"{nano}e{exponent}" if exponent else str(nano)
    return f"{nano}{_DECIMAL_SUFFIX[exponent]}"


def _divide_up(amount: int, by: int) -> int:
    magnitude = -(-abs(amount) // by)
    return magnitude if amount >= 0 else -magnitude
