"""Field ownership at the doors of the API: what a create, update or apply request means for managedFields."""

from dataclasses import dataclass
from functools import cache

from services.apiserver import conversion, strategies
from services.apiserver.apply import managers, trees
from services.apiserver.apply.fieldsets import text
from services.apiserver.apply.managers import APPLY, UPDATE, Entries, Manager
from services.apiserver.apply.shapes import Shape, shape_of
from services.apiserver.apply.trees import Excluded
from services.apiserver.failures import plain
from services.apiserver.protocol import Object, Request
from shared.objects import decoding, meta
from shared.objects.registry import Resource

FIELD = "managedFields"


@dataclass(frozen=True, slots=True)
class Ownership:
    """The entries before and after a request."""

    before: Entries
    after: Entries


NOBODY = Ownership({}, {})


def is_tracked(resource: Resource) -> bool:
    """Whether ownership is kept: Events are written once by one program and are many."""
    return not conversion.is_event(resource)


def created(request: Request, resource: Resource, obj: Object) -> Ownership:
    """The entries of an object that a request creates, before the server adds its own part."""
    if not is_tracked(resource):
        return NOBODY
    shape, excluded = shape_of(resource.schema), _excluded(resource, "")
    manager = _manager(request, resource, UPDATE, "")
    return Ownership({}, managers.update(shape, _zero(resource), obj, {}, manager, excluded))


def updated(request: Request, resource: Resource, old: Object, new: Object, subresource: str) -> Ownership:
    """The entries after a request that replaces `old` by `new`; none are begun where none are kept."""
    given = new["metadata"].get(FIELD)
    known = managers.decode(old["metadata"].get(FIELD))
    if given is not None and (not given or given == [{}]):
        # the documented way to be rid of them
        return Ownership(known, {})
    # an unchanged list is the usual case
    unchanged = given is None or given == old["metadata"].get(FIELD) or bool(subresource)
    entries = known if unchanged else managers.decode(given) or known
    if not entries or not is_tracked(resource):
        return Ownership(known, {})
    shape, excluded = shape_of(resource.schema), _excluded(resource, subresource)
    manager = _manager(request, resource, UPDATE, subresource)
    return Ownership(known, managers.update(shape, old, new, entries, manager, excluded))


def applied(
    request: Request, resource: Resource, live: Object | None, config: Object, subresource: str
) -> tuple[Object, Ownership]:
    """The object and entries after an apply to `live`; raises as `managers.apply`, and for a malformed config."""
    shape, zero = shape_of(resource.schema), _zero(resource)
    _check(resource, shape, config)
    manager = _manager(request, resource, APPLY, subresource)
    entries = managers.decode(live["metadata"].get(FIELD)) if live is not None else {}
    merged, after = managers.apply(
        shape,
        live or zero,
        config,
        entries,
        manager,
        _excluded(resource, subresource),
        zero=zero,
        force=request.query.flag("force"),
    )
    return merged, Ownership(entries, after)


def record(obj: Object, ownership: Ownership, old: Object | None = None) -> None:
    """Write the entries into the object, in place; those of `old` stay as they are where only times would differ."""
    listed = managers.encode(ownership.after)
    unmoved = old is not None and managers.is_same(ownership.before, ownership.after)
    if old is not None and unmoved and _without_entries(obj) == _without_entries(old):
        listed = old["metadata"].get(FIELD, [])
    if listed:
        obj["metadata"][FIELD] = listed
    else:
        obj["metadata"].pop(FIELD, None)


def _without_entries(obj: Object) -> Object:
    return obj | {"metadata": {name: value for name, value in obj["metadata"].items() if name != FIELD}}


def _manager(request: Request, resource: Resource, operation: str, subresource: str) -> Manager:
    return Manager(request.manager, operation, resource.api_version, subresource)


def _excluded(resource: Resource, subresource: str) -> Excluded:
    if subresource == "status":
        return Excluded(only=("metadata", "status"))
    return Excluded("status") if strategies.has_status(resource) else Excluded()


def _check(resource: Resource, shape: Shape, config: Object) -> None:
    """A configuration must fit the schema before it can be owned."""
    metadata = config.get("metadata") or {}
    where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; "
    group_version = resource.api_version if resource.group else f"/{resource.version}"
    head = f"failed to create typed patch object ({where}{group_version}, Kind={resource.kind}): "
    unknown = decoding.unknown_fields(resource, config)
    if unknown:
        path = unknown[0].removeprefix('unknown field "').removesuffix('"')
        raise plain(500, f"{head}.{path}: field not declared in schema")
    repeated = trees.duplicates(shape, config)
    if repeated:
        listed, element = repeated[0]
        raise plain(500, f"{head}{text(listed)}: duplicate entries for key {text((element,))}")


@cache
def _zero(resource: Resource) -> Object:
    """An object of the kind with nothing but the fields that are always written: what a new object is compared with."""
    obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind}
    decoding.prune(resource, obj)
    return dict(meta.copy(obj))
