"""Field ownership at the doors of the API: what a create, update or apply request means for managedFields.

The rules themselves are in `shared.objects.managed`; here is what only the server knows: who calls, which path resets
which fields, and that a write which changes nothing but times is none.
"""

from dataclasses import dataclass
from functools import lru_cache

from services.apiserver import conversion, strategies
from services.apiserver.protocol import Object, Request
from shared.objects import managed, times
from shared.objects.managed import APPLY, UPDATE, Manager
from shared.objects.registry import Resource

FIELD = "managedFields"
USUAL_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Ownership:
    """The entries before and after a request; one list where nothing changed."""

    before: list[Object]
    after: list[Object]


NOBODY = Ownership([], [])


def is_tracked(resource: Resource) -> bool:
    """Whether ownership is kept: Events are written once by one program and are many."""
    return not conversion.is_event(resource)


def created(request: Request, resource: Resource, obj: Object) -> Ownership:
    """The entries of an object that a request creates, before the server adds its own part."""
    if not is_tracked(resource):
        return NOBODY
    manager = _manager(request, resource, UPDATE, "")
    return Ownership([], managed.created(resource.schema, obj, manager, times.now(), _ignored(resource, "")))


def updated(request: Request, resource: Resource, old: Object, new: Object, subresource: str) -> Ownership:
    """The entries after a request that replaces `old` by `new`; none are begun where none are kept."""
    if not is_tracked(resource):
        return NOBODY
    manager = _manager(request, resource, UPDATE, subresource)
    after = managed.updated(resource.schema, old, new, manager, times.now(), _ignored(resource, subresource))
    return Ownership(_entries(old), after)


def applied(
    request: Request, resource: Resource, live: Object | None, config: Object, subresource: str
) -> tuple[Object, Ownership]:
    """The object and entries after an apply to `live`; raises as `managed.apply`."""
    outcome = managed.apply(
        resource.schema,
        live,
        config,
        _manager(request, resource, APPLY, subresource),
        times.now(),
        force=request.query.flag("force"),
        ignored=_ignored(resource, subresource),
    )
    return outcome.object, Ownership(_entries(live) if live is not None else [], outcome.entries)


def record(obj: Object, ownership: Ownership, old: Object | None = None) -> None:
    """Write the entries into the object, in place; those of `old` stay as they are where only times would differ."""
    before, listed = ownership.before, ownership.after
    if old is not None and listed is not before and managed.same_but_times(before, listed):
        listed = before if _without_entries(obj) == _without_entries(old) else listed
    if listed:
        obj["metadata"][FIELD] = listed
    else:
        obj["metadata"].pop(FIELD, None)


def _entries(obj: Object) -> list[Object]:
    return obj["metadata"].get(FIELD) or []


def _without_entries(obj: Object) -> Object:
    return obj | {"metadata": {name: value for name, value in obj["metadata"].items() if name != FIELD}}


def _manager(request: Request, resource: Resource, operation: str, subresource: str) -> Manager:
    asked, agent = request.query.get("fieldManager"), request.agent
    name = _known_name if len(asked) + len(agent) <= USUAL_LENGTH else managed.manager_name
    return Manager(name(asked, agent), operation, resource.api_version, subresource)


# a client sends the same ones with every request; a long one is nobody's habit
_known_name = lru_cache(maxsize=1024)(managed.manager_name)


# more than the kinds that are served at a time; a definition that goes must not be held for ever
@lru_cache(maxsize=1024)
def _ignored(resource: Resource, subresource: str) -> managed.Ignored:
    """What a path resets (GetResetFields of the registry strategies), so that nobody comes to own it there."""
    if subresource != "status":
        return managed.unowned("status") if strategies.has_status(resource) else managed.UNOWNED
    match strategies.key(resource):
        case ("", "pods"):
            return managed.unowned("spec", "metadata.deletionTimestamp", "metadata.ownerReferences")
        case ("apps", _):
            return managed.unowned("spec", "metadata.labels")
    return managed.unowned("spec")
