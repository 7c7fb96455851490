"""Tokens of an expression, as section "Syntax" of the CEL specification defines them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from shared.objects.cel.errors import CompilationError, Issue
from shared.objects.cel.values import UInt


class Token(NamedTuple):
    """`kind` is ident, quoted (a back-quoted field), literal, end, or the operator itself."""

    kind: str
    value: Any
    at: int


_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f]+|//[^\n]*)+)
    |(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<int>0[xX][0-9a-fA-F]+[uU]?|[0-9]+[uU]?)
    |(?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:'''|\"\"\"|'|"))
    |(?P<ident>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<operator>\|\||&&|<=|>=|==|!=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)
LONGEST_NUMBER = 100
_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\'"`?])|x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))"""
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WORDS = {"true": True, "false": False, "null": None}


def tokens(text: str) -> list[Token]:
    """Every token of `text` and one of kind end; CompilationError at the first character that begins none."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _syntax(text, at, f"token recognition error at: '{text[at]}'")
        kind = match.lastgroup
        if kind == "string":
            value, end = _string(text, match)
            found.append(Token("literal", value, at))
            at = end
            continue
        if kind != "space":
            found.append(_token(text, kind or "", match[0], at))
        at = match.end()
    found.append(Token("end", "<EOF>", len(text)))
    return found


def _token(text: str, kind: str, word: str, at: int) -> Token:
    if kind == "float":
        return Token("literal", float(word), at)
    if kind == "int":
        unsigned = word[-1] in "uU"
        digits = word.rstrip("uU")
        # Python refuses to read much longer ones
        number = int(digits, 16 if digits[:2] in ("0x", "0X") else 10) if len(digits) <= LONGEST_NUMBER else 2**64
        if unsigned:
            if number >= 2**64:
                raise _syntax(text, at, "invalid uint literal")
            return Token("literal", UInt(number), at)
        if number > 2**63:
            raise _syntax(text, at, "invalid int literal")
        return Token("literal", number, at)
    if kind == "ident":
        return Token("literal", _WORDS[word], at) if word in _WORDS else Token("ident", word, at)
    if kind == "quoted":
        return Token("quoted", word[1:-1], at)
    return Token(word, word, at)


def _string(text: str, match: re.Match[str]) -> tuple[str | bytes, int]:
    opening = match["string"]
    quote = opening.lstrip("rRbB")
    prefix = opening[: len(opening) - len(quote)].lower()
    start = at = match.end()
    while True:
        if at >= len(text) or (len(quote) == 1 and text[at] in "\r\n"):
            raise _syntax(text, match.start(), f"token recognition error at: '{text[match.start() : at]}'")
        if text.startswith(quote, at):
            break
        at += 2 if text[at] == "\\" and "r" not in prefix else 1
    body = text[start:at]
    end = at + len(quote)
    if "b" in prefix:
        return (body.encode() if "r" in prefix else _unescape_bytes(text, body, start)), end
    return (body if "r" in prefix else _unescape(text, body, start)), end


def _unescape(text: str, body: str, start: int) -> str:
    return "".join(piece if isinstance(piece, str) else piece.decode("latin-1") for piece in _pieces(text, body, start))


def _unescape_bytes(text: str, body: str, start: int) -> bytes:
    return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in _pieces(text, body, start))


def _pieces(text: str, body: str, start: int) -> list[str | bytes]:
    """Runs of text, and single bytes for hexadecimal and octal escapes."""
    found: list[str | bytes] = []
    at = 0
    while at < len(body):
        if body[at] != "\\":
            end = body.find("\\", at)
            end = len(body) if end < 0 else end
            found.append(body[at:end])
            at = end
            continue
        match = _ESCAPE.match(body, at)
        if match is None:
            raise _syntax(text, start + at, f"invalid escape sequence: {body[at : at + 2]}")
        simple, low, upper, four, eight, octal = match.groups()
        if simple:
            found.append(_SIMPLE.get(simple, simple))
        elif low or upper or octal:
            found.append(bytes([int(low or upper or octal, 8 if octal else 16)]))
        else:
            code = int(four or eight, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise _syntax(text, start + at, "invalid unicode code point")
            found.append(chr(code))
        at = match.end()
    return found


def _syntax(text: str, at: int, message: str) -> CompilationError:
    return CompilationError(text, [Issue(at, f"Syntax error: {message}")])
