"""Which resources the API serves: what `groups/` declares, and the custom resources that are published meanwhile.

Custom resources come and go with their definitions (see `custom.catalog`); everything that is derived from the set of
resources asks `generation` whether it is still current.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from shared.objects import groups, schema, versions
from shared.objects.schema import Column, Struct, Subresource


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One served resource of one group version."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: tuple[Subresource, ...]
    columns: tuple[Column, ...]
    field_selectors: tuple[str, ...]
    schema: Struct

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods` or `deployments.apps`, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def subresource(self, name: str) -> Subresource | None:
        return next((one for one in self.subresources if one.name == name), None)


def by_plural(group: str, version: str, plural: str) -> Resource | None:
    """The resource served at /apis/GROUP/VERSION/PLURAL, group "" being /api/VERSION."""
    api_version = f"{group}/{version}" if group else version
    return _served(api_version)[0].get(plural) or _custom.by_plural.get((api_version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource of an object's apiVersion and kind."""
    return _served(api_version)[1].get(kind) or _custom.by_kind.get((api_version, kind))


def all_resources() -> tuple[Resource, ...]:
    """Every served resource, by group in the order of `groups.MODULES`, then by plural; custom resources last."""
    return _custom.all


def custom_resources() -> tuple[Resource, ...]:
    """The custom resources among them, by group, version in order of preference, and plural."""
    return _custom.resources


def preferred(group: str, plural: str) -> Resource | None:
    """The first version of a resource."""
    return _custom.first.get((group, plural))


def of_kind(group: str, kind: str) -> Resource | None:
    """The first version of a resource by its kind."""
    return _custom.first_of_kind.get((group, kind))


def is_built_in(group: str, plural: str) -> bool:
    """Whether Wherry itself declares a resource of that name, whatever its version."""
    return any((one.group, one.plural) == (group, plural) for one in _all())


def generation() -> int:
    """A number that changes with the set of resources."""
    return _custom.generation


def publish(name: str, resources: tuple[Resource, ...]) -> None:
    """Serve the custom resources of the definition `name`, possibly none, in the place of those it had before."""
    _custom.replace(name, resources)


class _Custom:
    """What is published, by definition, and the indexes over it and the built-in resources."""

    def __init__(self) -> None:
        self._published: dict[str, tuple[Resource, ...]] = {}
        self.generation = 0
        self._index()

    def replace(self, name: str, resources: tuple[Resource, ...]) -> None:
        if not resources and name not in self._published:
            return
        self._published.pop(name, None)
        if resources:
            self._published[name] = resources
        self.generation += 1
        self._index()

    def _index(self) -> None:
        found = [one for resources in self._published.values() for one in resources]
        found.sort(key=lambda one: (one.group, versions.order(one.version), one.plural))
        self.resources = tuple(found)
        self.by_plural = {(one.api_version, one.plural): one for one in found}
        self.by_kind = {(one.api_version, one.kind): one for one in found}
        self.__dict__.pop("all", None)
        self.__dict__.pop("first", None)
        self.__dict__.pop("first_of_kind", None)

    @functools.cached_property
    def all(self) -> tuple[Resource, ...]:
        return _all() + self.resources

    @functools.cached_property
    def first(self) -> dict[tuple[str, str], Resource]:
        return {(one.group, one.plural): one for one in reversed(self.all)}

    @functools.cached_property
    def first_of_kind(self) -> dict[tuple[str, str], Resource]:
        return {(one.group, one.kind): one for one in reversed(self.all)}


@functools.cache
def _all() -> tuple[Resource, ...]:
    versions = [
        "/".join(filter(None, groups.group_version(package))) for package in groups.MODULES if package != "meta/v1"
    ]
    return tuple(resource for version in versions for _, resource in sorted(_served(version)[0].items()))


@functools.cache
def _served(api_version: str) -> tuple[dict[str, Resource], dict[str, Resource]]:
    package = groups.package_of(api_version)
    if package is None or package == "meta/v1":
        return {}, {}
    made = [_resource(package, declared) for declared in schema.resources(package)]
    return {one.plural: one for one in made}, {one.kind: one for one in made}


def _resource(package: str, declared: schema.DeclaredResource) -> Resource:
    group, version = groups.group_version(package)
    return Resource(
        group=group,
        version=version,
        plural=declared.plural,
        kind=declared.kind,
        singular=declared.kind.lower(),
        namespaced=declared.namespaced,
        short_names=declared.short_names,
        categories=declared.categories,
        verbs=declared.verbs,
        subresources=tuple(
            one if one.version else one._replace(group=group, version=version) for one in declared.subresources
        ),
        columns=declared.columns,
        field_selectors=_field_selectors(declared),
        schema=schema.struct(f"{package}.{declared.kind}"),
    )


def _field_selectors(declared: schema.DeclaredResource) -> tuple[str, ...]:
    """What Kubernetes' default conversion of field labels knows, or what the kind's own one does."""
    if declared.verbs == schema.CREATE_ONLY:
        return ()
    in_namespace = ("metadata.namespace",) if declared.namespaced or not declared.field_selectors else ()
    return ("metadata.name", *in_namespace, *declared.field_selectors)


_custom = _Custom()
