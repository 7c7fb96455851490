"""What a field is: the one table that decoding, defaults, protobuf, patches, apply, OpenAPI and tables are driven by.

The declarations live in `groups/`, one module a topic; they are read as text when a struct is first used, so that a
process pays only for the kinds it touches. A field's type is written as

    string bool int32 int64 double bytes                 scalars; `int32?` tells an explicit zero from absence
    Quantity Time MicroTime IntOrString RawExtension     special forms, see SPECIAL
    Container, meta/v1.LabelSelector                     a struct of the same package, or of another one
    [T] {T} {[T]}                                        list, map with string keys, map of lists

Protobuf numbers are those of the published .proto files, dotted where JSON inlines what protobuf nests.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from shared.objects import groups

if TYPE_CHECKING:
    from shared.objects.custom.kinds import CustomKind

SCALARS = frozenset({"string", "bool", "int32", "int64", "double", "bytes"})
SPECIAL = frozenset({"Quantity", "QuantityValue", "Time", "MicroTime", "IntOrString", "RawExtension"})
SPECIAL |= {"FieldsV1", "JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"}
SPECIAL |= {"Empty", "Verbs"}

Container = Literal["", "list", "map", "map-list"]


class Declared(NamedTuple):
    """A field as its declaration wrote it, before the struct is used."""

    name: str
    number: str
    type: str
    options: dict[str, Any]


class Column(NamedTuple):
    """A Table column; kubectl shows priority 1 only with -o wide."""

    name: str
    type: str
    format: str
    priority: int


class Subresource(NamedTuple):
    """A subresource and the kind it speaks, for example scale speaking autoscaling/v1 Scale.

    `own` marks those that Kubernetes does not have; discovery and OpenAPI describe its API and leave them out.
    """

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]
    own: bool = False


ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)
PROXIED = ("create", "delete", "get", "patch", "update")
"""What a subresource that passes requests on takes."""
NAME_COLUMN = Column("Name", "string", "name", 0)


class DeclaredResource(NamedTuple):
    """A resource as its declaration wrote it; `registry` completes it."""

    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: tuple[Subresource, ...]
    columns: tuple[Column, ...]
    field_selectors: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a struct.

    `number` is empty where protobuf has no such field. `always` fields are written even when zero, as Go writes values
    without omitempty. `default` is what the server fills in; `published` says whether OpenAPI shows it.
    """

    name: str
    number: tuple[int, ...]
    type: str
    container: Container
    pointer: bool
    required: bool
    always: bool
    default: Any
    published: bool
    enum: tuple[str, ...]
    patch: tuple[str, ...]
    merge_key: str
    list_type: str
    map_keys: tuple[str, ...]
    map_type: str
    immutable: bool

    @property
    def struct(self) -> Struct | None:
        """The struct of the value, or of the elements of a list or map; None for scalars and special forms."""
        return None if self.type in SCALARS or self.type in SPECIAL else struct(self.type)


class Struct:
    """A named set of fields; a *kind* when it also has apiVersion, kind and usually metadata.

    An `atomic` struct belongs to one field manager as a whole. `custom` has what the kind of a custom resource does
    instead of what its few declared fields would.
    """

    __slots__ = ("_declared", "_fields", "atomic", "custom", "is_kind", "name", "package")

    def __init__(
        self, package: str, name: str, declared: tuple[Declared, ...], *, is_kind: bool = False, atomic: bool = False
    ) -> None:
        self.package = package
        self.name = name
        self.is_kind = is_kind
        self.atomic = atomic
        self._declared = declared
        self._fields: dict[str, Field] | None = None
        self.custom: CustomKind | None = None

    @property
    def fields(self) -> dict[str, Field]:
        if self._fields is None:
            self._fields = {one.name: _build(self.package, one) for one in self._declared}
        return self._fields

    @property
    def openapi_name(self) -> str:
        """The published schema name, for example io.k8s.api.core.v1.Pod."""
        return f"{groups.openapi_prefix(self.package)}.{self.name}"

    @property
    def group_version(self) -> tuple[str, str]:
        return groups.group_version(self.package)

    @property
    def go_name(self) -> str:
        """The name in Go's error messages: version and type, for example v1.PodSpec."""
        return f"{self.package.rpartition('/')[2]}.{self.name}"

    def __repr__(self) -> str:
        return f"Struct({self.package}.{self.name})"


class Package:
    """The structs of one API group version; several modules may add to the same package."""

    __slots__ = ("name", "resources", "structs")

    def __init__(self, name: str) -> None:
        self.name = name
        self.structs: dict[str, Struct] = {}
        self.resources: list[DeclaredResource] = []

    def struct(self, name: str, *fields: Declared, atomic: bool = False) -> None:
        self.structs[name] = Struct(self.name, name, fields, atomic=atomic)

    def kind(self, name: str, *fields: Declared, metadata: str = "ObjectMeta") -> None:
        """Declare a kind; `metadata` is ObjectMeta, ListMeta or "" for kinds without."""
        head = (field("apiVersion", "", "string"), field("kind", "", "string"))
        meta = (field("metadata", 1, f"meta/v1.{metadata}", always=True),) if metadata else ()
        self.structs[name] = Struct(self.name, name, head + meta + fields, is_kind=True)

    def resource(
        self,
        plural: str,
        kind: str,
        *,
        namespaced: bool = True,
        short_names: tuple[str, ...] = (),
        categories: tuple[str, ...] = (),
        verbs: tuple[str, ...] = ALL_VERBS,
        subresources: tuple[Subresource, ...] = (),
        columns: tuple[Column, ...] = (),
        field_selectors: tuple[str, ...] = (),
    ) -> None:
        """Serve a kind; `field_selectors` are those besides metadata.name and metadata.namespace.

        A cluster-scoped kind that has any does not know metadata.namespace; all others know it, even without one.
        """
        self.resources.append(
            DeclaredResource(
                plural, kind, namespaced, short_names, categories, verbs, subresources, columns, field_selectors
            )
        )


def column(name: str, type: str = "string", *, format: str = "", priority: int = 0) -> Column:  # noqa: A002
    return Column(name, type, format, priority)


def subresource(
    name: str,
    kind: str,
    *,
    verbs: tuple[str, ...] = ("get", "patch", "update"),
    api_version: str = "",
    own: bool = False,
) -> Subresource:
    """Declare a subresource; without `api_version` it speaks a kind of the resource's own group version."""
    group, _, version = api_version.rpartition("/")
    return Subresource(name, group, version, kind, verbs, own)


def field(name: str, number: int | str, type: str, **options: Any) -> Declared:  # noqa: A002
    """Declare a field.

    Options: required, always, immutable, enum; default (the server fills it in, OpenAPI shows it) or fill (the server
    fills it in); for lists merge_key (strategic merge), map_keys (list type map), list_type (atomic or set), patch
    (strategies other than merge by key); map_type.
    """
    return Declared(name, str(number), type, options)


def package(name: str) -> Package:
    """The package a module of `groups` adds its declarations to, for example core/v1."""
    return _packages.setdefault(name, Package(name))


def struct(name: str) -> Struct:
    """The struct called `name`, for example core/v1.PodSpec; KeyError if no module declares it."""
    owner, _, local = name.rpartition(".")
    return _loaded(owner).structs[local]


def declared(package_name: str) -> list[Struct]:
    """Every struct of a package."""
    return list(_loaded(package_name).structs.values())


def resources(package_name: str) -> list[DeclaredResource]:
    """What a package serves."""
    return _loaded(package_name).resources


def kind(api_version: str, name: str) -> Struct | None:
    """The kind of an apiVersion, for example ("apps/v1", "Deployment") or ("v1", "PodList"); None if there is none.

    Lists are derived from their element's kind; the options and answers of meta/v1 belong to every group version.
    """
    owner = groups.package_of(api_version)
    for candidate in (owner, "meta/v1"):
        if candidate is None:
            continue
        found = _loaded(candidate).structs.get(name)
        if found is not None and found.is_kind:
            return found
    if owner is not None and name.endswith("List"):
        element = _loaded(owner).structs.get(name.removesuffix("List"))
        if element is not None and element.is_kind:
            return list_of(element)
    return None


@functools.cache
def list_of(element: Struct) -> Struct:
    """The list kind of a kind: ListMeta and items."""
    items = field("items", 2, f"[{element.name}]", required=True)
    made = Package(element.package)
    made.kind(f"{element.name}List", items, metadata="ListMeta")
    return made.structs[f"{element.name}List"]


Plan = TypeVar("Plan")


def planned(compile_plan: Callable[[Struct], Plan]) -> Callable[[Struct], Plan]:
    """Cache what is compiled from a struct, so that the work of reading the table is done once a type."""
    return functools.cache(compile_plan)


_packages: dict[str, Package] = {}


@functools.cache
def _loaded(name: str) -> Package:
    for module in groups.MODULES[name]:
        importlib.import_module(f"shared.objects.groups.{module}")
    return _packages[name]


def _build(owner: str, declared: Declared) -> Field:
    name, number, text, options = declared
    container: Container = ""
    if text.startswith("{["):
        container, text = "map-list", text[2:-2]
    elif text.startswith("{"):
        container, text = "map", text[1:-1]
    elif text.startswith("["):
        container, text = "list", text[1:-1]
    pointer = text.endswith("?")
    text = text.removesuffix("?")
    if text not in SCALARS and text not in SPECIAL and "/" not in text:
        text = f"{owner}.{text}"
    required = options.get("required", False)
    merge_key = options.get("merge_key", "")
    map_keys = options.get("map_keys", ())
    return Field(
        name=name,
        number=tuple(int(part) for part in number.split(".")) if number else (),
        type=text,
        container=container,
        pointer=pointer,
        required=required,
        always=options.get("always", required and not pointer),
        default=options.get("default", options.get("fill")),
        published="default" in options,
        enum=options.get("enum", ()),
        patch=options.get("patch", ("merge",) if merge_key else ()),
        merge_key=merge_key,
        list_type=options.get("list_type", "map" if map_keys else ""),
        map_keys=map_keys,
        map_type=options.get("map_type", ""),
        immutable=options.get("immutable", False),
    )
