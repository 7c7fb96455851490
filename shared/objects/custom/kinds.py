"""One served version of a custom resource: its kind with everything the generic machinery asks of a kind.

A `Resource` of a custom resource has a schema whose `custom` is a CustomKind; decoding, defaults, validation, apply,
tables and OpenAPI hand over to it. Objects are stored under the storage version; the other versions are the same object
under another apiVersion (conversion strategy None).
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import BadRequest, InternalError
from shared.objects import json, meta, schema
from shared.objects.custom.columns import PrinterColumns
from shared.objects.registry import Resource
from shared.objects.schema import ALL_VERBS, Struct, Subresource
from shared.objects.validation.causes import Cause
from shared.objects.versions import order

if TYPE_CHECKING:
    from shared.objects.custom.machine import Machine
    from shared.objects.managed.shapes import Granular

Object = dict[str, Any]

STATUS_VERBS = ("get", "patch", "update")


class CustomStruct(Struct):
    """The kind of a custom resource; its declared fields are those every object has."""

    __slots__ = ("_group", "_version")

    def __init__(self, group: str, version: str, kind: str) -> None:
        declared = (
            schema.field("apiVersion", "", "string"),
            schema.field("kind", "", "string"),
            schema.field("metadata", 1, "meta/v1.ObjectMeta", always=True),
        )
        super().__init__(f"{group}/{version}", kind, declared, is_kind=True)
        self._group = group
        self._version = version

    @property
    def group_version(self) -> tuple[str, str]:
        return self._group, self._version

    @property
    def openapi_name(self) -> str:
        return ".".join([*reversed(self._group.split(".")), self._version, self.name])


class CustomKind:
    """What a version of a definition says; `definition` is the CustomResourceDefinition, `declared` its version."""

    def __init__(self, definition: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
        spec = definition["spec"]
        names = accepted_names(definition)
        self.group = str(spec["group"])
        self.version = str(declared["name"])
        self.kind = str(names["kind"])
        self.list_kind = str(names.get("listKind") or f"{self.kind}List")
        self.uid = str(definition["metadata"].get("uid", ""))
        self.is_terminating = meta.is_deleting(definition)
        self.is_replaced = False
        """Whether the definition has changed since, so that watches must begin anew."""
        self.since = int(definition["metadata"].get("resourceVersion") or 0)
        """The revision that brought this form of the definition."""
        self.storage_version = next((str(one["name"]) for one in spec["versions"] if one.get("storage")), self.version)
        # schemas are large and mostly prose, and most kinds are never used: they are kept small until then
        self._schema = zlib.compress(json.encode((declared.get("schema") or {}).get("openAPIV3Schema") or {}), 1)
        subresources = declared.get("subresources") or {}
        self.has_status = subresources.get("status") is not None
        self.scale: Mapping[str, str] | None = subresources.get("scale")
        self.columns = PrinterColumns(declared.get("additionalPrinterColumns"))
        self.deprecation = _deprecation(self, spec, declared)
        self.needs_webhook = (spec.get("conversion") or {}).get("strategy") == "Webhook"
        self.preserves_all = bool(spec.get("preserveUnknownFields"))
        self.struct = CustomStruct(self.group, self.version, self.kind)
        self.struct.custom = self

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def raw_schema(self) -> dict[str, Any]:
        """The openAPIV3Schema, a new copy each time."""
        found: dict[str, Any] = msgspec.json.decode(zlib.decompress(self._schema))
        return found

    @functools.cached_property
    def machine(self) -> Machine:
        """The compiled schema, made when first needed: definitions are many, the kinds in use are few.

        What it takes, CEL above all, is imported only then: most processes know of custom resources by name alone.
        """
        from shared.objects.custom.machine import Machine

        return Machine(self.raw_schema, prunes=not self.preserves_all)

    @property
    def shape(self) -> Granular:
        return self.machine.shape

    def claim(self, obj: Object) -> None:
        """BadRequest unless the body says that it is of this kind and version."""
        for name, word in (("kind", "Kind"), ("apiVersion", "apiVersion")):
            value = obj.get(name)
            if not isinstance(value, str) or not value:
                raise BadRequest(
                    f"the object provided is unrecognized (must be of type {self.kind}): couldn't get version/kind; "
                    f"json parse error: Object '{word}' is missing in '{json.encode(obj).decode()[:1000]}'"
                )
        if obj["apiVersion"] != self.api_version:
            raise BadRequest(
                f"the API version in the data ({obj['apiVersion']}) does not match the expected API version "
                f"({self.api_version})"
            )
        if obj["kind"] != self.kind:
            raise BadRequest(
                f'{obj["kind"]} in version "{self.version}" cannot be handled as a {self.kind}: converting '
                f"(unstructured) to {self.kind}: unknown conversion"
            )

    def conform(self, obj: Object) -> list[str]:
        """Prune and bring metadata into form, in place; messages for unknown fields. BadRequest as decoding has it."""
        return [f'unknown field "{path}"' for path in self.machine.conform(obj)]

    def fill(self, obj: Object) -> None:
        """Fill in defaults and drop nulls that count as absent, in place."""
        self.machine.fill(obj)

    def validate(self, obj: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
        """What the schema, its rules and the scale subresource have against an object."""
        found = _replicas(self.scale, obj) if self.scale is not None else []
        return found + self.machine.validate(obj, old)

    def view(self, stored: Object) -> Object:
        """A stored object as this version serves it: pruned and defaulted by the schema of today.

        It is the stored object itself where that makes no difference. InternalError if a webhook would be needed.
        """
        if stored["apiVersion"] != self.api_version:
            self._require_no_webhook(stored["apiVersion"])
        served: Object = meta.copy(stored)
        served["apiVersion"] = self.api_version
        self.machine.serve(served)
        return stored if served == stored else served

    def to_storage(self, obj: Object) -> Object:
        """An object as it is stored; InternalError if a webhook would be needed."""
        if self.version == self.storage_version:
            return obj
        storage = f"{self.group}/{self.storage_version}"
        self._require_no_webhook(storage)
        return obj | {"apiVersion": storage}

    def _require_no_webhook(self, other: str) -> None:
        if self.needs_webhook:
            raise InternalError(
                f"conversion of {self.kind}.{self.group} between {other} and {self.api_version} needs the webhook of "
                "its definition, and conversion webhooks are not called; use the version the object is stored in"
            )


def accepted_names(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The names a definition is served under."""
    accepted = (definition.get("status") or {}).get("acceptedNames") or {}
    names: Mapping[str, Any] = (
        accepted if accepted.get("plural") and accepted.get("kind") else definition["spec"]["names"]
    )
    return names


def resources(definition: Mapping[str, Any]) -> tuple[Resource, ...]:
    """The resources of a definition, one for each served version."""
    return tuple(_resource(definition, one) for one in definition["spec"]["versions"] if one.get("served"))


def stored_resource(definition: Mapping[str, Any]) -> Resource:
    """The resource of a definition's storage version, served or not."""
    versions = definition["spec"]["versions"]
    return _resource(definition, next((one for one in versions if one.get("storage")), versions[0]))


def _resource(definition: Mapping[str, Any], declared: Mapping[str, Any]) -> Resource:
    names, kind = accepted_names(definition), CustomKind(definition, declared)
    selectable = tuple(one["jsonPath"].removeprefix(".") for one in declared.get("selectableFields") or ())
    return Resource(
        group=kind.group,
        version=kind.version,
        plural=str(names["plural"]),
        kind=kind.kind,
        singular=str(names.get("singular") or kind.kind.lower()),
        namespaced=definition["spec"]["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=ALL_VERBS,
        subresources=_subresources(kind),
        columns=kind.columns.columns(),
        field_selectors=("metadata.name", "metadata.namespace", *selectable),
        schema=kind.struct,
    )


def _subresources(kind: CustomKind) -> tuple[Subresource, ...]:
    found = []
    if kind.has_status:
        found.append(Subresource("status", kind.group, kind.version, kind.kind, STATUS_VERBS))
    if kind.scale is not None:
        found.append(Subresource("scale", "autoscaling", "v1", "Scale", STATUS_VERBS))
    return tuple(found)


def _deprecation(kind: CustomKind, spec: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    if not declared.get("deprecated"):
        return ""
    if declared.get("deprecationWarning"):
        return str(declared["deprecationWarning"])
    text = f"{kind.api_version} {kind.kind} is deprecated"
    newer = [
        str(one["name"])
        for one in spec["versions"]
        if one.get("served") and not one.get("deprecated") and order(one["name"]) < order(kind.version)
    ]
    return f"{text}; use {kind.group}/{min(newer, key=order)} {kind.kind}" if newer else text


def _replicas(scale: Mapping[str, str], obj: Mapping[str, Any]) -> list[Cause]:
    """The counts that the scale subresource reads must not be negative."""
    found = []
    for path in (scale["specReplicasPath"], scale["statusReplicasPath"]):
        value: Any = obj
        for part in path.strip(".").split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            text = f"Invalid value: {value}: should be a non-negative integer"
            found.append(Cause("FieldValueInvalid", text, path))
    return found
