"""Schemas of the kinds and everything they hold, with Kubernetes' extensions for merging and applying."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.objects import schema
from shared.objects.registry import Resource
from shared.objects.schema import Field, Struct

_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"

PATCH = f"{_META}.Patch"


_SPECIAL_NAMES = {
    "Quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "QuantityValue": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "Time": f"{_META}.Time",
    "MicroTime": f"{_META}.MicroTime",
    "IntOrString": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "RawExtension": "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "FieldsV1": f"{_META}.FieldsV1",
    "JSON": f"{_APIEXTENSIONS}.JSON",
    "JSONSchemaPropsOrArray": f"{_APIEXTENSIONS}.JSONSchemaPropsOrArray",
    "JSONSchemaPropsOrBool": f"{_APIEXTENSIONS}.JSONSchemaPropsOrBool",
    "JSONSchemaPropsOrStringArray": f"{_APIEXTENSIONS}.JSONSchemaPropsOrStringArray",
    "Empty": f"{_APIEXTENSIONS}.CustomResourceSubresourceStatus",
}
_SPECIAL_SCHEMAS: dict[str, dict[str, Any]] = {
    "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "IntOrString": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "RawExtension": {"type": "object"},
    "FieldsV1": {"type": "object"},
    "Empty": {"type": "object"},
}
_SCALARS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "Verbs": {"type": "array", "items": {"type": "string", "default": ""}},
}
_ZERO: dict[str, Any] = {"string": "", "bool": False, "int32": 0, "int64": 0, "double": 0}


def reference(name: str) -> dict[str, Any]:
    return {"$ref": f"{_REF}{name}"}


def subresource_kind(group: str, version: str, kind: str) -> Struct | None:
    """The kind a subresource speaks; None for the option kinds of streams, which have no schema."""
    return schema.kind(f"{group}/{version}" if group else version, kind)


def reachable(resources: Iterable[Resource], served: list[tuple[str, str]]) -> dict[str, Any]:
    """Every schema the operations on these resources speak of, by name.

    `served` are the group versions that DeleteOptions and Status are part of.
    """
    waiting: list[Struct] = [schema.struct(f"meta/v1.{name}") for name in ("Status", "DeleteOptions", "WatchEvent")]
    waiting += [schema.struct("meta/v1.APIResourceList")]
    custom: dict[str, Any] = {}
    for resource in resources:
        if resource.schema.custom is not None:
            custom |= _custom(resource)
            waiting += [schema.struct("meta/v1.ObjectMeta"), schema.struct("meta/v1.ListMeta")]
            waiting += [schema.struct("autoscaling/v1.Scale")] if resource.subresource("scale") is not None else []
            continue
        waiting.append(resource.schema)
        if "list" in resource.verbs:
            waiting.append(schema.list_of(resource.schema))
        for one in resource.subresources:
            kind = subresource_kind(one.group, one.version, one.kind)
            if kind is not None:
                waiting.append(kind)
    return dict(sorted((_reachable(waiting, served) | custom | {PATCH: {"type": "object"}}).items()))


def structs(names: Iterable[str], served: list[tuple[str, str]]) -> dict[str, Any]:
    """The schemas of some structs ("meta/v1.APIGroup") and everything they hold, by name."""
    return _reachable([schema.struct(name) for name in names], served)


def _reachable(waiting: list[Struct], served: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while waiting:
        struct = waiting.pop()
        if struct.openapi_name in found:
            continue
        found[struct.openapi_name] = _struct(struct, served)
        for field in struct.fields.values():
            inner = field.struct
            if inner is not None:
                waiting.append(inner)
            elif field.type in _SPECIAL_NAMES:
                special = "Quantity" if field.type == "QuantityValue" else field.type
                found[_SPECIAL_NAMES[special]] = _SPECIAL_SCHEMAS.get(special, {})
    return dict(sorted(found.items()))


def list_name(resource: Resource) -> str:
    """The name of the schema of a resource's list."""
    if resource.schema.custom is not None:
        prefix = resource.schema.openapi_name.removesuffix(f".{resource.kind}")
        return f"{prefix}.{resource.schema.custom.list_kind}"
    return schema.list_of(resource.schema).openapi_name


def _custom(resource: Resource) -> dict[str, Any]:
    """The schemas of a custom resource and of its list: what its definition says, and what every object has."""
    custom = resource.schema.custom
    assert custom is not None
    raw = custom.raw_schema
    head = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    properties = {
        **(raw.get("properties") or {}),
        **head,
        "metadata": reference(schema.struct("meta/v1.ObjectMeta").openapi_name),
    }
    kind = {"group": resource.group, "version": resource.version}
    selectable = [{"fieldPath": one} for one in resource.field_selectors if not one.startswith("metadata.")]
    if selectable:
        raw["x-kubernetes-selectable-fields"] = selectable
    name = resource.schema.openapi_name
    items = {"type": "array", "items": reference(name)}
    listed = {**head, "metadata": reference(schema.struct("meta/v1.ListMeta").openapi_name), "items": items}
    return {
        name: {**raw, "properties": properties, "x-kubernetes-group-version-kind": [kind | {"kind": resource.kind}]},
        list_name(resource): {
            "type": "object",
            "required": ["items"],
            "properties": listed,
            "x-kubernetes-group-version-kind": [kind | {"kind": custom.list_kind}],
        },
    }


def _struct(struct: Struct, served: list[tuple[str, str]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "object",
        "properties": {name: _field(field) for name, field in sorted(struct.fields.items())},
    }
    required = sorted(name for name, field in struct.fields.items() if field.required)
    if required:
        made["required"] = required
    if struct.is_kind:
        own = [struct.group_version] if struct.package != "meta/v1" else served
        made["x-kubernetes-group-version-kind"] = [
            {"group": group, "kind": struct.name, "version": version} for group, version in own
        ]
    if struct.atomic:
        made["x-kubernetes-map-type"] = "atomic"
    return made


def _field(field: Field) -> dict[str, Any]:
    made: dict[str, Any]
    match field.container:
        case "list":
            made = {"type": "array", "items": _element(field)}
        case "map":
            made = {"type": "object", "additionalProperties": _element(field)}
        case "map-list":
            made = {"type": "object", "additionalProperties": {"type": "array", "items": _element(field)}}
        case _:
            made = _single(field)
    if field.patch:
        made["x-kubernetes-patch-strategy"] = ",".join(field.patch)
    if field.merge_key:
        made["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.list_type:
        made["x-kubernetes-list-type"] = field.list_type
    if field.map_keys:
        made["x-kubernetes-list-map-keys"] = list(field.map_keys)
    if field.map_type:
        made["x-kubernetes-map-type"] = field.map_type
    if "$ref" in made and len(made) > 1:
        # nothing may stand beside a reference
        return {"allOf": [{"$ref": made.pop("$ref")}], **made}
    return made


def _single(field: Field) -> dict[str, Any]:
    base = _type(field)
    default = _published_default(field)
    if default is not None:
        base = {"allOf": [base], "default": default} if "$ref" in base else {**base, "default": default}
    if field.enum:
        base = {**base, "enum": list(field.enum)}
    return base


def _published_default(field: Field) -> Any:
    if field.published:
        return field.default
    if not field.always:
        return None
    return {} if field.struct is not None else _ZERO.get(field.type)


def _element(field: Field) -> dict[str, Any]:
    base = _type(field)
    if field.struct is not None:
        return {"allOf": [base], "default": {}}
    return {**base, "default": _ZERO[field.type]} if field.type in _ZERO else dict(base)


def _type(field: Field) -> dict[str, Any]:
    inner = field.struct
    if inner is not None:
        return reference(inner.openapi_name)
    if field.type in _SPECIAL_NAMES:
        return reference(_SPECIAL_NAMES[field.type])
    return dict(_SCALARS[field.type])
