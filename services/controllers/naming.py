"""Names for new objects that are chosen, not drawn.

Kubernetes gives a pod a random name at the server, so a controller that dies between sending a create and seeing its
result makes a second one after its restart. Here the name is a function of the owner and of the names already taken
(tombstones included): a restarted controller that has not yet seen its own create chooses the same name again, and
the server refuses the duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count

from shared.objects.meta import SAFE_ALPHABET

_SUFFIX_LENGTH = 5
_PREFIX_LIMIT = 63 - _SUFFIX_LENGTH


def suffix(seed: str) -> str:
    """Five characters without vowels or look-alikes, as Kubernetes' generated names end."""
    number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")
    letters = []
    for _ in range(_SUFFIX_LENGTH):
        number, index = divmod(number, len(SAFE_ALPHABET))
        letters.append(SAFE_ALPHABET[index])
    return "".join(letters)


def free(prefix: str, seed: str, taken: Callable[[str], bool], wanted: int) -> list[str]:
    """The first `wanted` names of the sequence given by `seed` that are not taken.

    `prefix` is cut so that the name stays a DNS label of 63 characters, as generateName does.
    """
    found: list[str] = []
    chosen: set[str] = set()
    for attempt in count():
        if len(found) >= wanted:
            break
        name = prefix[:_PREFIX_LIMIT] + suffix(f"{seed}/{attempt}")
        if name not in chosen and not taken(name):
            chosen.add(name)
            found.append(name)
    return found
