"""New objects that are charged to quotas, stored together: who comes while a batch is on its way joins the next one.

All of them change the same quotas, so each on its own would wait for all before it. Charged one after the other against
a running count and written in one atomic batch, a hundred pods of a namespace cost little more than one.
"""

from dataclasses import dataclass
from itertools import islice

from services.apiserver import conversion
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.quotas import QUOTAS, Quotas
from services.apiserver.failures import already_exists, conflict
from services.apiserver.protocol import Object
from services.apiserver.store import ATTEMPTS, Store, Written
from shared.errors import ApiError, WherryError
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.log import CREATE, Write

LARGEST = 64
"""Most objects of one batch."""


@dataclass(slots=True, eq=False)
class Entry:
    """An object on its way: what is asked, and what came of it."""

    asked: Attributes
    ref: Ref
    stored: Object
    author: Author
    cause: str
    written: Written | None = None
    error: WherryError | None = None

    @property
    def settled(self) -> bool:
        return self.written is not None or self.error is not None


class Pool:
    """Creates objects in namespaces with quotas."""

    def __init__(self, store: Store, quotas: Quotas) -> None:
        self._store = store
        self._quotas = quotas
        self._waiting: dict[str, list[Entry]] = {}

    async def create(self, asked: Attributes, author: Author, cause: str) -> Written:
        """Store a new object and charge it; AlreadyExists, or Forbidden if a quota would be exceeded."""
        obj, namespace = asked.current, asked.namespace
        ref = self._store.ref(asked.resource, namespace, obj["metadata"]["name"])
        entry = Entry(asked, ref, conversion.to_storage(asked.resource, obj), author, cause)
        # what does not fit now need not wait for others
        self._quotas.apply(asked, {})
        self._waiting.setdefault(namespace, []).append(entry)
        async with self._quotas.turn(namespace):
            while not entry.settled:
                await self._store_next(namespace)
        if entry.error is not None:
            raise entry.error
        assert entry.written is not None
        return entry.written

    async def _store_next(self, namespace: str) -> None:
        """Store those that have waited longest, as far as they may be in one batch: of one author, each name once."""
        waiting = self._waiting[namespace]
        author = waiting[0].author
        first: dict[Ref, Entry] = {}
        for entry in waiting:
            if entry.author == author:
                first.setdefault(entry.ref, entry)
        chosen = list(islice(first.values(), LARGEST))
        try:
            await self._store_together(chosen)
        except WherryError as exc:
            for entry in chosen:
                if not entry.settled:
                    entry.error = exc
        finally:
            left = [entry for entry in waiting if not entry.settled]
            if left:
                self._waiting[namespace] = left
            else:
                del self._waiting[namespace]

    async def _store_together(self, entries: list[Entry]) -> None:
        cache = self._store.state.cache
        namespace = entries[0].asked.namespace
        for _ in range(ATTEMPTS):
            charged: dict[str, Object] = {}
            fitting = [entry for entry in entries if not entry.settled and self._fits(entry, charged)]
            if not fitting:
                return
            writes = [
                Write(entry.ref, entry.stored, cache.expected(entry.ref), CREATE, entry.cause) for entry in fitting
            ]
            for name, obj in charged.items():
                ref = Ref(*QUOTAS, namespace, name)
                writes.append(Write(ref, obj, cache.expected(ref)))
            written = await self._store.store_together(writes, fitting[0].author)
            if written is not None:
                for entry, one in zip(fitting, written, strict=False):
                    entry.written = one
                return
        for entry in entries:
            if not entry.settled:
                entry.error = conflict(entry.asked.resource, entry.ref.name)

    def _fits(self, entry: Entry, charged: dict[str, Object]) -> bool:
        """Charge an entry on top of those before it; its failure is its own."""
        try:
            if self._store.state.cache.get(entry.ref) is not None:
                raise already_exists(entry.asked.resource, entry.ref.name)
            charged |= self._quotas.apply(entry.asked, charged)
        except ApiError as exc:
            entry.error = exc
        return entry.error is None
