"""JSON by the interpreter's own scanner and encoder in C, without the package around them.

The `json` package compiles regular expressions for a decoder in Python that is never used; with `re` and what that
needs it takes a command of `wherry-runtime`, each a process of its own, 5 ms to import. Whatever is not plain valid
JSON is left to it, so errors are its own.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLANK = " \t\n\r"


class _Rules:
    """What json.JSONDecoder tells the scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_scan = make_scanner(_Rules)  # type: ignore[arg-type]


def loads(text: str | bytes) -> Any:
    """As json.loads."""
    try:
        plain = text if isinstance(text, str) else text.decode()
        value, end = _scan(plain, len(plain) - len(plain.lstrip(_BLANK)))
        if not plain[end:].strip(_BLANK):
            return value
    except (StopIteration, UnicodeDecodeError):
        pass
    import json

    return json.loads(text)


def dumps(value: Any) -> str:
    """As json.dumps. TypeError for what JSON has no form of, ValueError for what contains itself."""
    encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def _refuse(value: object) -> Any:
    raise TypeError(f"an object of type {type(value).__name__} cannot be written as JSON")
