"""Which service wants which map element, so that a change of one service yields the few elements that differ.

Exists because elements can be wanted by several services: two external IPs collide, two services share a pod. The first
by name wins, on every node alike, and the next one takes over when it goes.
"""

from collections.abc import Iterator

from services.nodeagent.proxy.plan import Data, Elements

Claim = tuple[str, Data]
Place = tuple[str, bytes]


class Ledger:
    """The claims of all services on the elements of all sets."""

    def __init__(self) -> None:
        self._wanted: dict[str, Elements] = {}
        self._claims: dict[str, dict[bytes, tuple[Claim, ...]]] = {}

    def replace(self, owner: str, wanted: Elements) -> set[Place]:
        """Record what a service wants now, {} when it is gone; returns the elements on which its wish changed."""
        before = self._wanted.pop(owner, {})
        if wanted:
            self._wanted[owner] = wanted
        touched: set[Place] = set()
        for name in before.keys() | wanted.keys():
            old, new = before.get(name, {}), wanted.get(name, {})
            claims = self._claims.setdefault(name, {})
            for key in old.keys() | new.keys():
                if key in old and key in new and old[key] == new[key]:
                    continue
                touched.add((name, key))
                others = tuple(claim for claim in claims.get(key, ()) if claim[0] != owner)
                now = (*others, (owner, new[key])) if key in new else others
                if now:
                    claims[key] = now
                else:
                    claims.pop(key, None)
        return touched

    def owners(self) -> set[str]:
        """The services that want anything."""
        return set(self._wanted)

    def winner(self, name: str, key: bytes) -> Claim | None:
        """Who gets the element and with which data."""
        claims = self._claims.get(name, {}).get(key)
        return min(claims, key=lambda claim: claim[0]) if claims else None

    def places(self) -> Iterator[Place]:
        """Every element that somebody wants."""
        for name, claims in self._claims.items():
            for key in claims:
                yield name, key
