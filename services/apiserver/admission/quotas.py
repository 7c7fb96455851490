"""Quotas: a write that would exceed one is refused, any other is charged in the same atomic batch (ResourceQuota).

Kubernetes charges first and writes afterwards, so that a failed write leaves a charge that a controller must find. Here
the new status of every quota concerned goes along with the object, each expecting the revision that was looked at: of
two API servers that take the last piece at the same time one loses the race and looks again.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.apiserver import conversion
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects.usage import amounts, counting, pods
from shared.objects.usage.amounts import Amounts
from shared.state.cache import Record
from shared.state.log import Write

QUOTAS = ("", "resourcequotas")
# updates of these change what they take; of everything else only the number counts
CHANGING = frozenset({("", "services"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims")})
Charge = Callable[[], Sequence[Write]]


@dataclass(frozen=True, slots=True)
class Quotas:
    """Charges writes to the quotas of their namespaces."""

    store: Store
    _turns: "weakref.WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=weakref.WeakValueDictionary)

    def charge(self, asked: Attributes) -> Charge | None:
        """The writes that charge an operation, made anew each time it is called; None if no quota can be concerned.

        Calling it raises Forbidden if a quota would be exceeded.
        """
        if not asked.resource.namespaced or not _measured(asked) or not self._of(asked.namespace):
            return None
        return lambda: [self._write(asked.namespace, name, obj) for name, obj in self.apply(asked, {}).items()]

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """One writer of this process at a time in a namespace: they would only lose races against each other."""
        lock = self._turns.get(namespace)
        if lock is None:
            lock = self._turns[namespace] = asyncio.Lock()
        async with lock:
            yield

    def _write(self, namespace: str, name: str, obj: Object) -> Write:
        ref = Ref(*QUOTAS, namespace, name)
        return Write(ref, obj, self.store.state.cache.expected(ref))

    def _of(self, namespace: str) -> Sequence[Record]:
        return self.store.state.cache.list(*QUOTAS, namespace)

    def apply(self, asked: Attributes, charged: Mapping[str, Object]) -> dict[str, Object]:
        """The quotas that an operation changes, by name, each in its new form; Forbidden if one would be exceeded.

        `charged` has the forms that other operations have given them meanwhile.
        """
        now = datetime.now(UTC)
        group, plural = asked.key
        obj, old = asked.current, asked.old
        taken = counting.usage(group, plural, obj, now)
        before = counting.usage(group, plural, old, now) if old is not None else {}
        _refuse_negative(asked, taken)
        changed = {}
        for record in self._of(asked.namespace):
            name = record.ref.name
            quota = charged.get(name, record.object)
            hard = amounts.texts((quota.get("status") or {}).get("hard"))
            if not counting.matches(group, plural, quota, hard, obj):
                continue
            names = counting.tracked(group, plural, hard)
            _require_stated(asked, quota, names)
            used = amounts.texts((quota.get("status") or {}).get("used"))
            if any(one not in used for one in names):
                known = ",".join(sorted(names))
                raise _refusal(asked, f"status unknown for quota: {name}, resources: {known}")
            counted_before = old is not None and counting.matches(group, plural, quota, hard, old)
            wanted = amounts.difference(taken, before) if counted_before else taken
            wanted = amounts.only(amounts.positive(wanted), hard)
            if not wanted:
                continue
            total = amounts.total(used, wanted)
            _refuse_excess(asked, name, wanted, used, hard, total)
            changed[name] = {**quota, "status": {**quota["status"], "used": total}}
        return changed


def _measured(asked: Attributes) -> bool:
    """Whether an operation can take anything from a quota."""
    if not counting.counted(*asked.key) or conversion.is_event(asked.resource):
        return False
    if asked.operation == CREATE:
        return not asked.subresource
    if asked.operation != UPDATE:
        return False
    if asked.key == ("", "pods"):
        return asked.subresource == "resize"
    return asked.key in CHANGING and asked.subresource != "status"


def _require_stated(asked: Attributes, quota: Object, names: Sequence[str]) -> None:
    if asked.key == ("", "pods"):
        why = pods.unstated(asked.current, names)
        if why:
            raise _refusal(asked, f"failed quota: {quota['metadata']['name']}: {why}")


def _refuse_negative(asked: Attributes, taken: Amounts) -> None:
    negative = sorted(name for name, text in taken.items() if text.startswith("-"))
    if negative:
        raise _refusal(asked, f"quota usage is negative for resource(s): {','.join(negative)}")


def _refuse_excess(asked: Attributes, name: str, wanted: Amounts, used: Amounts, hard: Amounts, total: Amounts) -> None:
    exceeded = amounts.beyond(amounts.only(total, wanted), hard)
    if exceeded:
        raise _refusal(
            asked,
            f"exceeded quota: {name}, requested: {_shown(wanted, exceeded)}, used: {_shown(used, exceeded)}, "
            f"limited: {_shown(hard, exceeded)}",
        )


def _shown(listed: Amounts, names: Sequence[str]) -> str:
    return ",".join(f"{name}={listed[name]}" for name in names if name in listed)


def _refusal(asked: Attributes, why: str) -> Exception:
    return forbidden(asked.resource, asked.name, why)
