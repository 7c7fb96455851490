"""Operations of the served resources: what kubectl looks for before it creates, applies or explains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.objects import schema
from shared.objects.openapi import schemas
from shared.objects.registry import Resource
from shared.objects.schema import Struct, Subresource

MEDIA = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_WATCH_MEDIA = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_STRATEGIC = "application/strategic-merge-patch+json"
_PATCH_MEDIA = (
    "application/json-patch+json",
    "application/merge-patch+json",
    _STRATEGIC,
    "application/apply-patch+yaml",
)


def _query(name: str, type: str, description: str) -> dict[str, Any]:  # noqa: A002
    return {"name": name, "in": "query", "description": description, "schema": {"type": type, "uniqueItems": True}}


def _path(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "uniqueItems": True},
    }


_PRETTY = _query("pretty", "string", "indent the answer")
_NAME = "name of the object"
_NAMESPACE = _path("namespace", "namespace of the object")
_DRY_RUN = _query("dryRun", "string", "All: go through every stage but store nothing")
_MANAGER = _query("fieldManager", "string", "who makes the change, for managedFields")
_VALIDATION = _query(
    "fieldValidation", "string", "what to do about unknown and repeated fields: Ignore, Warn or Strict"
)
_FORCE = _query("force", "boolean", "take fields over from other managers; only for apply patches")
_WRITE = (_DRY_RUN, _MANAGER, _VALIDATION)
_LIST = (
    _query("allowWatchBookmarks", "boolean", "send BOOKMARK events while watching"),
    _query("continue", "string", "token of the next page of a list"),
    _query("fieldSelector", "string", "only objects with these field values"),
    _query("labelSelector", "string", "only objects with these labels"),
    _query("limit", "integer", "most objects of one page"),
    _query("resourceVersion", "string", "version the answer is about"),
    _query("resourceVersionMatch", "string", "how resourceVersion is meant: Exact or NotOlderThan"),
    _query("sendInitialEvents", "boolean", "start a watch with the present objects and a bookmark"),
    _query("shardSelector", "string", "reserved by Kubernetes for lists of a part of the objects; has no effect"),
    _query("timeoutSeconds", "integer", "how long a list or watch may take"),
    _query("watch", "boolean", "watch for changes instead of listing"),
)
_DELETE = (
    _DRY_RUN,
    _query("gracePeriodSeconds", "integer", "seconds the object may take to stop"),
    _query("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "delete even what cannot be read"),
    _query("orphanDependents", "boolean", "leave dependents alone; use propagationPolicy instead"),
    _query("propagationPolicy", "string", "what happens to dependents: Orphan, Background or Foreground"),
)


def operations(resources: Iterable[Resource]) -> dict[str, Any]:
    """The path items of the resources, by path."""
    found: dict[str, Any] = {}
    for resource in resources:
        found |= _discovery_path(resource)
        found |= _collection_paths(resource)
        found |= _item_paths(resource)
        if "watch" in resource.verbs:
            found |= _watch_paths(resource)
        for one in (one for one in resource.subresources if not one.own):
            found |= _subresource_paths(resource, one)
    return dict(sorted(found.items()))


def _discovery_path(resource: Resource) -> dict[str, Any]:
    group, version = camel_group(resource.group), _camel(resource.version)
    answer = schemas.reference(schema.struct("meta/v1.APIResourceList").openapi_name)
    get = {
        "tags": [f"{snake_group(resource.group)}_{resource.version}"],
        "operationId": f"get{group}{version}APIResources",
        "responses": {
            "200": {"description": "OK", "content": {one: {"schema": answer} for one in MEDIA}},
            "401": {"description": "Unauthorized"},
        },
    }
    return {f"{_root(resource)}/": {"get": get}}


def _watch_paths(resource: Resource) -> dict[str, Any]:
    """The old way to watch, by path instead of by parameter."""
    event = schema.struct("meta/v1.WatchEvent").openapi_name
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{_root(resource)}/watch{scope}/{resource.plural}"
    namespace = [_NAMESPACE] if resource.namespaced else []

    def item(action: str, parameters: list[dict[str, Any]], **kind: Any) -> dict[str, Any]:
        get = _operation(resource, "watch", action, event, watchable=True, **kind)
        return {"get": get, "parameters": [*_LIST, *parameters, _PRETTY]}

    found = {
        collection: item("watchlist", namespace, list_of=True),
        f"{collection}/{{name}}": item("watch", [_path("name", f"{_NAME} ({resource.kind})"), *namespace]),
    }
    if resource.namespaced:
        everywhere = item("watchlist", [], list_of=True, everywhere=True)
        found[f"{_root(resource)}/watch/{resource.plural}"] = everywhere
    return found


def _root(resource: Resource) -> str:
    return f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"


def _base(resource: Resource) -> str:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"{_root(resource)}{scope}/{resource.plural}"


def _collection_paths(resource: Resource) -> dict[str, Any]:
    listed = schemas.list_name(resource)
    item: dict[str, Any] = {}
    found: dict[str, Any] = {_base(resource): item}
    if "list" in resource.verbs:
        item["get"] = _operation(resource, "list", "list", listed, query=_LIST, watchable=True)
    if "create" in resource.verbs:
        item["post"] = _operation(
            resource, "create", "post", _kind_name(resource), query=_WRITE, body=_any(_kind_name(resource))
        )
    if "deletecollection" in resource.verbs:
        item["delete"] = _operation(
            resource, "delete", "deletecollection", _status_name(), query=(*_DELETE, *_LIST), infix="Collection"
        )
    item["parameters"] = [*([_NAMESPACE] if resource.namespaced else []), _PRETTY]
    if "list" in resource.verbs and resource.namespaced:
        everywhere = _operation(resource, "list", "list", listed, watchable=True, everywhere=True)
        found[f"{_root(resource)}/{resource.plural}"] = {"get": everywhere, "parameters": [*_LIST, _PRETTY]}
    return found


def _item_paths(resource: Resource) -> dict[str, Any]:
    name = _kind_name(resource)
    item: dict[str, Any] = {}
    if "get" in resource.verbs:
        item["get"] = _operation(resource, "read", "get", name)
    if "update" in resource.verbs:
        item["put"] = _operation(resource, "replace", "put", name, query=_WRITE, body=_any(_kind_name(resource)))
    if "patch" in resource.verbs:
        item["patch"] = _operation(
            resource, "patch", "patch", name, query=(*_WRITE, _FORCE), body=_patch_body(resource)
        )
    if "delete" in resource.verbs:
        item["delete"] = _operation(
            resource, "delete", "delete", _status_name(), query=_DELETE, body=_any(_options_name(), required=False)
        )
    if not item:
        return {}
    item["parameters"] = _item_parameters(resource)
    return {f"{_base(resource)}/{{name}}": item}


def _subresource_paths(resource: Resource, one: Subresource) -> dict[str, Any]:
    kind = resource.schema if one.kind == resource.kind else schemas.subresource_kind(one.group, one.version, one.kind)
    if kind is None:
        return {}
    name = kind.openapi_name
    item: dict[str, Any] = {}
    for verb, method, word in (("get", "get", "read"), ("update", "put", "replace"), ("create", "post", "create")):
        if verb in one.verbs:
            writes = verb != "get"
            item[method] = _operation(
                resource,
                word,
                method,
                name,
                query=_WRITE if writes else (),
                body=_any(name) if writes else None,
                subresource=one,
                spoken=kind,
            )
    if "patch" in one.verbs:
        item["patch"] = _operation(
            resource,
            "patch",
            "patch",
            name,
            query=(*_WRITE, _FORCE),
            body=_patch_body(resource),
            subresource=one,
            spoken=kind,
        )
    item["parameters"] = _item_parameters(resource)
    return {f"{_base(resource)}/{{name}}/{one.name}": item}


def _item_parameters(resource: Resource) -> list[dict[str, Any]]:
    return [
        _path("name", f"{_NAME} ({resource.kind})"),
        *([_NAMESPACE] if resource.namespaced else []),
        _PRETTY,
    ]


def _kind_name(resource: Resource) -> str:
    return resource.schema.openapi_name


def _status_name() -> str:
    return schema.struct("meta/v1.Status").openapi_name


def _options_name() -> str:
    return schema.struct("meta/v1.DeleteOptions").openapi_name


def _any(name: str, *, required: bool = True) -> dict[str, Any]:
    """A request body of one schema in any media type."""
    made: dict[str, Any] = {"content": {"*/*": {"schema": schemas.reference(name)}}}
    return {**made, "required": True} if required else made


def _patch_body(resource: Resource) -> dict[str, Any]:
    """The patch types a resource takes; clients conclude from it whether a strategic merge is possible."""
    content = {one: {"schema": schemas.reference(schemas.PATCH)} for one in _PATCH_MEDIA}
    if resource.schema.custom is not None:
        del content[_STRATEGIC]
    return {"content": content, "required": True}


def _operation(
    resource: Resource,
    word: str,
    action: str,
    answer: str,
    *,
    query: tuple[dict[str, Any], ...] = (),
    body: dict[str, Any] | None = None,
    watchable: bool = False,
    everywhere: bool = False,
    infix: str = "",
    list_of: bool = False,
    subresource: Subresource | None = None,
    spoken: Struct | None = None,
) -> dict[str, Any]:
    group = camel_group(resource.group)
    scope = "Namespaced" if resource.namespaced and not everywhere else ""
    tail = "List" if list_of else _camel(subresource.name) if subresource is not None else ""
    tail += "ForAllNamespaces" if everywhere else ""
    media = (*MEDIA, *_WATCH_MEDIA) if watchable else MEDIA
    said = spoken or resource.schema
    group_name, version = said.group_version
    ok = {"description": "OK", "content": {one: {"schema": schemas.reference(answer)} for one in media}}
    made: dict[str, Any] = {
        "tags": [f"{snake_group(resource.group)}_{resource.version}"],
        "operationId": f"{word}{group}{_camel(resource.version)}{infix}{scope}{resource.kind}{tail}",
        "parameters": list(query),
        "responses": dict.fromkeys(_codes(action), ok) | {"401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group_name, "kind": said.name, "version": version},
    }
    if body is not None:
        made["requestBody"] = body
    return made


def _codes(action: str) -> tuple[str, ...]:
    return {
        "post": ("200", "201", "202"),
        "put": ("200", "201"),
        "patch": ("200", "201"),
        "delete": ("200", "202"),
    }.get(action, ("200",))


def _short_group(group: str) -> str:
    return group.removesuffix(".k8s.io") or "core"


def camel_group(group: str) -> str:
    """A group in the names of operations: apps -> Apps, rbac.authorization.k8s.io -> RbacAuthorization."""
    return "".join(_camel(part) for part in _short_group(group).split("."))


def snake_group(group: str) -> str:
    """A group in tags: apps, rbacAuthorization."""
    first, *rest = _short_group(group).split(".")
    return first + "".join(_camel(part) for part in rest)


def _camel(text: str) -> str:
    return text[:1].upper() + text[1:]
