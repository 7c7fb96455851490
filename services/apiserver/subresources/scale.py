"""The scale subresource: one small object that means "how many" for every kind that has replicas (autoscaling/v1)."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from services.apiserver import conversion, decoding, patching
from services.apiserver.admission.attributes import Lens
from services.apiserver.failures import bad_request, conflict, internal, invalid
from services.apiserver.protocol import Item, Object, Outcome, Request
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.write import Writer, expected_revision
from shared.objects import meta
from shared.objects.registry import Resource
from shared.objects.schema import Column
from shared.objects.validation import Cause
from shared.state.cache import Record

GROUP = "autoscaling"
KIND = "Scale"
COLUMNS = tuple(
    Column(title, form, "", 0)
    for title, form in (("Name", "string"), ("Desired", "integer"), ("Available", "integer"), ("Age", "string"))
)


class Scaling:
    """Reads and writes the Scale of objects."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    async def get(self, request: Request, target: Target) -> Outcome:
        record = await self._store.latest(target.resource, target.namespace, target.name)
        return _shown(target.resource, conversion.view(target.resource, record))

    async def update(self, request: Request, target: Target) -> Outcome:
        scale = decoding.decode_as(request, f"{GROUP}/v1", KIND)
        _check(scale, target)
        expected = expected_revision(scale)
        replicas = _replicas(scale, target)

        def resize(record: Record) -> Object:
            return _resized(target.resource, conversion.view(target.resource, record), replicas)

        written = await self._writer.change(request, _whole(target), resize, expected, lens=_lens(target.resource))
        return _shown(target.resource, conversion.from_storage(target.resource, written.object))

    async def patch(self, request: Request, target: Target) -> Outcome:
        media = patching.media_of(request)
        if media == patching.APPLY_PATCH:
            return await self._apply(request, target)
        patch = patching.read_patch(request, media)

        def resize(record: Record) -> Object:
            current = conversion.view(target.resource, record)
            shown = scale_of(target.resource, current)
            scale = patching.apply(request, _as_resource(target.resource), media, patch, shown)
            _check(scale, target)
            given = expected_revision(scale)
            if given is not None and given != record.revision:
                raise conflict(target.resource, target.name)
            return _resized(target.resource, current, _replicas(scale, target))

        written = await self._writer.change(request, _whole(target), resize, None, lens=_lens(target.resource))
        return _shown(target.resource, conversion.from_storage(target.resource, written.object))

    async def _apply(self, request: Request, target: Target) -> Outcome:
        """Apply a Scale: the count becomes the applier's, where the object has it."""
        resource = target.resource
        config = patching.read_configuration(request, _as_resource(resource))
        _check(config, target)
        laid: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": target.name}}
        if "replicas" in (config.get("spec") or {}):
            laid = _resized(resource, laid, _replicas(config, target))
        expected = expected_revision(config)
        written = await self._writer.lay(request, _whole(target), laid, expected, _lens(resource))
        return _shown(resource, conversion.from_storage(resource, written.object))


def _shown(resource: Resource, obj: Object) -> Item:
    return Item(_as_resource(resource), scale_of(resource, obj))


def scale_of(resource: Resource, obj: Object) -> Object:
    """The Scale of an object; zero replicas are left out, as Kubernetes' encoding does.

    InternalError if a custom resource has no count where its definition says that it is.
    """
    metadata, spec = obj["metadata"], obj.get("spec", {})
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    custom = resource.schema.custom
    if custom is not None and custom.scale is not None:
        replicas, count, selector = _counts(custom.scale, obj)
    else:
        replicas, count = spec.get("replicas", 1), obj.get("status", {}).get("replicas", 0)
        selector = _selector_text(spec.get("selector") or {})
    status: Object = {"replicas": count}
    if selector:
        status["selector"] = selector
    return {
        "kind": KIND,
        "apiVersion": f"{GROUP}/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _counts(paths: Mapping[str, str], obj: Object) -> tuple[int, int, str]:
    """What a custom resource has at the paths of its scale subresource: wanted, present, and the selector."""
    where = paths["specReplicasPath"]
    replicas = _at(obj, where)
    if replicas is None:
        raise internal(f'the spec replicas field "{where}" does not exist')
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise internal(f'the spec replicas field "{where}" is not an integer')
    count = _at(obj, paths["statusReplicasPath"])
    selector = _at(obj, paths["labelSelectorPath"]) if paths.get("labelSelectorPath") else ""
    return replicas, count if type(count) is int else 0, selector if isinstance(selector, str) else ""


def _at(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _selector_text(selector: Object) -> str:
    if not set(selector) <= {"matchLabels", "matchExpressions"}:
        # replication controllers select by a plain map
        selector = {"matchLabels": selector}
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        values = ",".join(sorted(one.get("values") or ()))
        match one.get("operator"):
            case "In":
                parts.append(f"{one['key']} in ({values})")
            case "NotIn":
                parts.append(f"{one['key']} notin ({values})")
            case "Exists":
                parts.append(one["key"])
            case "DoesNotExist":
                parts.append(f"!{one['key']}")
    return ",".join(sorted(parts))


def _resized(resource: Resource, obj: Object, replicas: int) -> Object:
    changed: Object = meta.copy(obj)
    custom = resource.schema.custom
    path = custom.scale["specReplicasPath"] if custom is not None and custom.scale is not None else ".spec.replicas"
    *holders, name = path.strip(".").split(".")
    holder = changed
    for part in holders:
        holder = holder.setdefault(part, {})
    holder[name] = replicas
    return changed


def _replicas(scale: Object, target: Target) -> int:
    value = int((scale.get("spec") or {}).get("replicas", 0))
    if value < 0 and target.resource.schema.custom is None:
        # the counts of a custom resource are refused where they stand
        text = f"Invalid value: {value}: must be greater than or equal to 0"
        raise invalid(GROUP, KIND, target.name, [Cause("FieldValueInvalid", text, "spec.replicas")])
    return value


def _check(scale: Object, target: Target) -> None:
    metadata = scale.get("metadata") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        text = f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        raise bad_request(text)
    if name != target.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
    if namespace not in (None, "", target.namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    scale["metadata"] = metadata


def _put(resource: Resource, obj: Object, scale: Object) -> Object:
    return _resized(resource, obj, int((scale.get("spec") or {}).get("replicas", 0)))


def _lens(resource: Resource) -> Lens:
    return Lens("scale", (GROUP, "v1", KIND), partial(scale_of, resource), partial(_put, resource))


def _whole(target: Target) -> Target:
    return dataclasses.replace(target, subresource=None)


def _as_resource(resource: Resource) -> Resource:
    struct = decoding.struct_of(f"{GROUP}/v1", KIND)
    return dataclasses.replace(resource, group=GROUP, version="v1", kind=KIND, schema=struct, columns=COLUMNS)
