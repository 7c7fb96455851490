"""What an nf_tables table consists of, as plain values; the names are those of nft(8).

Exists so that callers can compute and compare rule sets without touching the kernel.
"""

from dataclasses import dataclass
from typing import NamedTuple

FAMILY_IPV4 = 2

# numbers of nft's data types (nftables/src/datatype.c); they only matter to `nft list`
IPV4_ADDRESS = 7
INET_PROTOCOL = 12
INET_SERVICE = 13
MARK = 19
VERDICT = 0xFFFFFF00

_SIZES = {IPV4_ADDRESS: 4, INET_PROTOCOL: 1, INET_SERVICE: 2, MARK: 4}
_TYPE_BITS = 6

HOOK_PREROUTING = 0
HOOK_INPUT = 1
HOOK_FORWARD = 2
HOOK_OUTPUT = 3
HOOK_POSTROUTING = 4

PRIORITY_RAW = -300
PRIORITY_DSTNAT = -100
PRIORITY_FILTER = 0
PRIORITY_SRCNAT = 100

# enum nft_verdicts and NF_DROP, NF_ACCEPT
_CONTINUE = -1
_JUMP = -3
_GOTO = -4
_RETURN = -5
_DROP = 0
_ACCEPT = 1


class Verdict(NamedTuple):
    """What a rule or a verdict map decides; `chain` for jump and goto."""

    code: int
    chain: str = ""


accept = Verdict(_ACCEPT)
drop = Verdict(_DROP)
leave = Verdict(_RETURN)


def jump(chain: str) -> Verdict:
    """Evaluate the chain and come back."""
    return Verdict(_JUMP, chain)


def goto(chain: str) -> Verdict:
    """Evaluate the chain instead of the rest of this one."""
    return Verdict(_GOTO, chain)


class Element(NamedTuple):
    """A set or map element: key and data as the kernel compares them, each field padded to four bytes."""

    key: bytes
    data: bytes | Verdict | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; with `hook` a base chain of kind filter or nat. Higher priorities run later."""

    name: str
    kind: str = ""
    hook: int = -1
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or with `data` a map; key and data are concatenations of data types. `timeout_ms` 0 means for ever.

    `dynamic` lets rules add elements, `interval` makes the keys range boundaries.
    """

    name: str
    key: tuple[int, ...]
    data: tuple[int, ...] = ()
    dynamic: bool = False
    interval: bool = False
    size: int = 0


def concatenated(types: tuple[int, ...]) -> int:
    """The number by which nft knows a concatenation of data types."""
    number = 0
    for kind in types:
        number = number << _TYPE_BITS | kind
    return number


def width(types: tuple[int, ...]) -> int:
    """Bytes of a value of these types; fields of a concatenation are padded to four bytes each."""
    if len(types) == 1:
        return _SIZES[types[0]]
    return sum((_SIZES[kind] + 3) & ~3 for kind in types)
