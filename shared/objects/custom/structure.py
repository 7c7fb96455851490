"""Whether a schema is one that custom resources can have: structural, and free of what Kubernetes does not serve.

Source: KEP-1327 and apiextensions-apiserver's pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.objects import meta
from shared.objects.cel import EvaluationError
from shared.objects.cel.library.patterns import pattern
from shared.objects.custom import pruning, values
from shared.objects.custom.structural import MISSING, Node
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, required, unsupported

Schema = Mapping[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = {
    "$ref": "$ref is not supported",
    "id": "id is not supported",
    "additionalItems": "additionalItems is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported",
}
_STRUCTURAL_ONLY = (
    "type",
    "description",
    "title",
    "default",
    "nullable",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
)
_JUNCTIONS = ("allOf", "anyOf", "oneOf")


def validate(schema: Schema, path: str) -> list[Cause]:
    """What is wrong with the openAPIV3Schema at `path`; defaults and rules are checked when it is structural."""
    found = list(_structure(schema, path, root=True))
    if not schema.get("type"):
        found.append(required(f"{path}.type", "must not be empty at the root"))
    elif schema["type"] != "object":
        found.append(invalid(f"{path}.type", schema["type"], "must be object at the root"))
    return found


def _structure(schema: Schema, path: str, *, root: bool = False, where: str = "object fields") -> Iterator[Cause]:
    kind = schema.get("type")
    loose = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not kind and not root and not loose:
        yield required(f"{path}.type", f"must not be empty for specified {where}")
    if kind and kind not in _TYPES:
        yield unsupported(f"{path}.type", kind, _TYPES)
    yield from _keywords(schema, path)
    yield from _extensions(schema, path)
    yield from _metadata(schema, path, root=root)
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if properties and additional is not None:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if additional is False:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    elif isinstance(additional, Mapping):
        yield from _structure(additional, f"{path}.additionalProperties")
    for name, one in properties.items():
        yield from _structure(one, f"{path}.properties[{name}]")
    items = schema.get("items")
    if kind == "array" and not items:
        yield required(f"{path}.items", "must be specified")
    if isinstance(items, list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif isinstance(items, Mapping):
        yield from _structure(items, f"{path}.items", where="array items")
    for one, below in _junctions(schema, path):
        yield from _values_only(one, schema, below)


def _keywords(schema: Schema, path: str) -> Iterator[Cause]:
    for name, why in _UNSUPPORTED.items():
        if schema.get(name):
            yield forbidden(f"{path}.{name}", why)
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", why)
    if schema.get("pattern"):
        try:
            pattern(schema["pattern"])
        except EvaluationError as exc:
            why = f"must be a valid regular expression, but isn't: {exc}"
            yield invalid(f"{path}.pattern", schema["pattern"], why)
    if schema.get("nullable") and schema.get("x-kubernetes-list-map-keys"):
        yield forbidden(f"{path}.nullable", "must not be set for the elements of a map list")


def _extensions(schema: Schema, path: str) -> Iterator[Cause]:
    kind = schema.get("type")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("x-kubernetes-int-or-string") and kind:
        yield forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            yield invalid(f"{path}.type", kind or "", "must be object if x-kubernetes-embedded-resource is true")
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            why = "must not be empty if x-kubernetes-embedded-resource is true without "
            why += "x-kubernetes-preserve-unknown-fields"
            yield required(f"{path}.properties", why)
    map_type = schema.get("x-kubernetes-map-type")
    if map_type and kind != "object":
        yield invalid(f"{path}.type", kind or "", "must be object if x-kubernetes-map-type is specified")
    if map_type and map_type not in ("granular", "atomic"):
        yield unsupported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    list_type = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if list_type and kind != "array":
        yield invalid(f"{path}.type", kind or "", "must be array if x-kubernetes-list-type is specified")
    if list_type and list_type not in ("atomic", "map", "set"):
        yield unsupported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "map", "set"))
    if list_type == "set":
        yield from _set(_element(schema), path)
    if list_type == "map":
        yield from _map_keys(_element(schema), keys, path)
    elif keys:
        yield forbidden(f"{path}.x-kubernetes-list-map-keys", "must be empty if x-kubernetes-list-type is not map")


def _element(schema: Schema) -> Schema:
    """The schema of a list's elements; nothing where there is none or, wrongly, more than one."""
    items = schema.get("items")
    return items if isinstance(items, Mapping) else {}


def _set(items: Schema, path: str) -> Iterator[Cause]:
    kind = items.get("type")
    if items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set")
    if kind == "object" and items.get("x-kubernetes-map-type") != "atomic":
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type") or "", why)
    if kind == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid(f"{path}.items.x-kubernetes-list-type", items.get("x-kubernetes-list-type"), why)


def _map_keys(items: Schema, keys: list[str], path: str) -> Iterator[Cause]:
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield required(where, "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", why)
    if len(set(keys)) < len(keys):
        yield duplicate(where, keys)
    properties = items.get("properties") or {}
    for index, name in enumerate(keys):
        one = properties.get(name)
        if one is None:
            yield invalid(f"{where}[{index}]", name, "entries must all be names of item properties")
            continue
        below = f"{path}.items.properties[{name}]"
        if one.get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{below}.type", one["type"], why)
        if one.get("default") is None and name not in (items.get("required") or ()):
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{below}.default", why)


def _metadata(schema: Schema, path: str, *, root: bool) -> Iterator[Cause]:
    """The metadata of an object has a type of its own; only names may be restricted further."""
    if not root and not schema.get("x-kubernetes-embedded-resource"):
        return
    properties = schema.get("properties") or {}
    metadata = properties.get("metadata") or {}
    where = f"{path}.properties[metadata]"
    if metadata.get("type") not in (None, "", "object"):
        yield invalid(f"{where}.type", metadata["type"], "must be object")
    extra = set(metadata.get("properties") or {}) - {"name", "generateName"}
    if root and (extra or any(metadata.get(one) for one in ("required", "additionalProperties", "maxProperties"))):
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(where, why)
    for name in ("apiVersion", "kind"):
        kind = (properties.get(name) or {}).get("type")
        if kind not in (None, "", "string"):
            yield invalid(f"{path}.properties[{name}].type", kind, "must be string")


def _junctions(schema: Schema, path: str) -> Iterator[tuple[Schema, str]]:
    for name in _JUNCTIONS:
        for index, one in enumerate(schema.get(name) or ()):
            yield one, f"{path}.{name}[{index}]"
    if schema.get("not"):
        yield schema["not"], f"{path}.not"


def _values_only(schema: Schema, outer: Schema, path: str) -> Iterator[Cause]:
    """Below a junction only values are restricted; what fields there are has been said outside."""
    loose = bool(outer.get("x-kubernetes-int-or-string"))
    for name in _STRUCTURAL_ONLY:
        if schema.get(name) in (None, "", [], False):
            continue
        if name == "type" and loose and schema["type"] in ("integer", "string"):
            continue
        yield forbidden(f"{path}.{name}", "must be empty to be structural")
    yield from _keywords(schema, path)
    known = outer.get("properties") or {}
    additional = outer.get("additionalProperties")
    for name, one in (schema.get("properties") or {}).items():
        below = f"{path}.properties[{name}]"
        inner = known.get(name)
        if inner is None and isinstance(additional, Mapping):
            inner = additional
        if inner is None:
            if not outer.get("x-kubernetes-preserve-unknown-fields") and additional is not True:
                _, _, said = path.rpartition("openAPIV3Schema.")
                place = f"{_outside(path)}.properties[{name}]"
                yield required(place, f"because it is defined in {said}.properties[{name}]")
            inner = {"x-kubernetes-preserve-unknown-fields": True}
        yield from _values_only(one, inner, below)
    items = schema.get("items")
    if isinstance(items, Mapping):
        yield from _values_only(items, _element(outer), f"{path}.items")
    for one, below in _junctions(schema, path):
        yield from _values_only(one, outer, below)


def _outside(path: str) -> str:
    """The path of the schema that a junction belongs to."""
    positions = [at for name in (".allOf[", ".anyOf[", ".oneOf[", ".not") if (at := path.find(name)) >= 0]
    return path[: min(positions)] if positions else path


def defaults(node: Node, path: str) -> Iterator[Cause]:
    """A default must be a value that the schema takes, without unknown fields."""
    if not node.has_defaults:
        return
    if node.default is not MISSING:
        yield from _default(node, path)
    for name, one in node.properties.items():
        yield from defaults(one, f"{path}.properties[{name}]")
    if node.additional is not None:
        yield from defaults(node.additional, f"{path}.additionalProperties")
    if node.items is not None:
        yield from defaults(node.items, f"{path}.items")


def _default(node: Node, path: str) -> Iterator[Cause]:
    value = node.default
    where = f"{path}.default"
    if isinstance(value, dict):
        trimmed = meta.copy(value)
        if pruning.prune(node, trimmed):
            yield invalid(where, value, "must not have unknown fields")
    for one in values.validate(node, value, where):
        yield one if one.field.startswith(where) else one._replace(field=where)
