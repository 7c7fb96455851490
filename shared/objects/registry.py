"""Which resources the API serves: what `groups/` declares as a resource, found by URL or by kind."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from shared.objects import groups, schema
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
    return _served(f"{group}/{version}" if group else version)[0].get(plural)


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource of an object's apiVersion and kind."""
    return _served(api_version)[1].get(kind)


def all_resources() -> tuple[Resource, ...]:
    """Every served resource, by group in the order of `groups.MODULES`, then by plural."""
    return _all()


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
