"""Which services have to be planned again, given all services and slices as they are now.

Exists because objects are immutable by convention: an object that is the same object has not changed, so that a look at
ten thousand of them costs about a millisecond.
"""

import datetime
from collections.abc import Mapping

from services.nodeagent.proxy.endpoints import Object

Key = tuple[str, str]

_SERVICE_NAME = "kubernetes.io/service-name"
_TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class Changes:
    """Remembers the objects of the last look."""

    def __init__(self) -> None:
        self._services: dict[Key, Object] = {}
        self._slices: dict[Key, Object] = {}
        self._slices_of: dict[Key, dict[Key, Object]] = {}
        self.triggers: list[float] = []
        self.changed_services = 0
        self.changed_slices = 0

    def look(self, services: Mapping[Key, Object], slices: Mapping[Key, Object]) -> set[Key]:
        """The services that differ from the last look, themselves or in their slices; gone ones included.

        Sets the numbers of changed objects, and `triggers`: the times (unix seconds) at which their causes happened.
        """
        stale = _differences(self._services, services)
        changed_slices = _differences(self._slices, slices)
        self.changed_services, self.changed_slices = len(stale), len(changed_slices)
        self.triggers = []
        for key in changed_slices:
            before, now = self._slices.get(key), slices.get(key)
            for item in (before, now):
                owner = None if item is None else _service_of(item)
                if owner is not None:
                    stale.add(owner)
            if before is not None and (owner := _service_of(before)) is not None:
                self._slices_of.get(owner, {}).pop(key, None)
            if now is not None and (owner := _service_of(now)) is not None:
                self._slices_of.setdefault(owner, {})[key] = now
                trigger = _trigger_of(now)
                if trigger is not None and (before is None or _trigger_of(before) != trigger):
                    self.triggers.append(trigger)
        self._services, self._slices = dict(services), dict(slices)
        return stale

    def service(self, key: Key) -> Object | None:
        """A service of the last look."""
        return self._services.get(key)

    def slices(self, key: Key) -> list[Object]:
        """The slices of a service, in the order of their names."""
        found = self._slices_of.get(key, {})
        return [found[name] for name in sorted(found)]


def _differences(before: Mapping[Key, Object], now: Mapping[Key, Object]) -> set[Key]:
    changed = {key for key, item in now.items() if before.get(key) is not item}
    return changed | (before.keys() - now.keys())


def _service_of(item: Object) -> Key | None:
    metadata = item["metadata"]
    name = (metadata.get("labels") or {}).get(_SERVICE_NAME)
    return (metadata["namespace"], name) if name else None


def _trigger_of(item: Object) -> float | None:
    text = (item["metadata"].get("annotations") or {}).get(_TRIGGER_TIME)
    try:
        return datetime.datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
