"""The documents by which clients learn what is served: legacy lists and the aggregated form (KEP-3352)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from services.apiserver.failures import unknown_path
from services.apiserver.negotiation import accept, parse
from services.apiserver.protocol import JSON, Document, Object, Outcome, Raw, Request
from shared.objects import json, registry
from shared.objects.registry import Resource
from shared.objects.schema import Subresource
from shared.objects.versions import order as versions_order

AGGREGATED_GROUP = "apidiscovery.k8s.io"
AGGREGATED_KIND = "APIGroupDiscoveryList"
VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+wherry",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


@dataclass(frozen=True, slots=True)
class GroupVersion:
    """One served group version with its resources."""

    group: str
    version: str
    resources: tuple[Resource, ...]

    @property
    def name(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class Discovery:
    """Serves /api and /apis and what is below them, for the resources of the registry."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._generation = registry.generation()

    def _renew(self) -> None:
        """Forget what was derived from resources that are no longer all or no longer there."""
        if self._generation != registry.generation():
            self._generation = registry.generation()
            for name in ("_versions", "_aggregated_core", "_aggregated_groups"):
                self.__dict__.pop(name, None)

    @cached_property
    def _versions(self) -> list[GroupVersion]:
        served: dict[tuple[str, str], list[Resource]] = {}
        for resource in registry.all_resources():
            served.setdefault((resource.group, resource.version), []).append(resource)
        return [GroupVersion(*key, tuple(found)) for key, found in served.items()]

    def serve(self, request: Request) -> Outcome | None:
        """The document at a path; None if the path is no discovery path, NotFound if nothing is served there."""
        self._renew()
        parts = request.path.strip("/").split("/")
        match parts:
            case ["api"]:
                return self._root(request, core=True)
            case ["apis"]:
                return self._root(request, core=False)
            case ["api", version]:
                return Document(_resource_list(self._version("", version)))
            case ["apis", group, *_] if not any(one.group == group for one in self._versions):
                return Raw(b"404 page not found\n", "text/plain; charset=utf-8", 404)
            case ["apis", group]:
                return Document({"kind": "APIGroup", "apiVersion": "v1"} | self._group(group))
            case ["apis", group, version]:
                return Document(_resource_list(self._version(group, version)))
        return None

    def _root(self, request: Request, *, core: bool) -> Outcome:
        aggregated = _wants_aggregated(request.headers.get("accept", ""))
        if aggregated is not None:
            body, tag = self._aggregated_core if core else self._aggregated_groups
            # the version asked for is repeated, v2beta1 having the same content
            content_type = f"{JSON};g={AGGREGATED_GROUP};v={aggregated};as={AGGREGATED_KIND}"
            headers = (("Vary", "Accept"), ("ETag", tag), ("Cache-Control", "public"))
            if tag in request.headers.get("if-none-match", ""):
                return Raw(b"", "", 304, headers)
            body = body.replace(b'"apidiscovery.k8s.io/v2"', b'"apidiscovery.k8s.io/%s"' % aggregated.encode())
            return Raw(body, content_type, 200, headers)
        if core:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
            versions = [one.version for one in self._versions if not one.group]
            return Document({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses})
        groups = [self._group(name) for name in dict.fromkeys(one.group for one in self._versions if one.group)]
        return Document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    def _version(self, group: str, version: str) -> GroupVersion:
        for one in self._versions:
            if (one.group, one.version) == (group, version):
                return one
        raise unknown_path()

    def _group(self, name: str) -> Object:
        versions = [
            {"groupVersion": one.name, "version": one.version}
            for one in _preferred(self._versions)
            if one.group == name
        ]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    @cached_property
    def _aggregated_core(self) -> tuple[bytes, str]:
        return _tagged(_aggregated(one for one in self._versions if not one.group))

    @cached_property
    def _aggregated_groups(self) -> tuple[bytes, str]:
        return _tagged(_aggregated(one for one in _preferred(self._versions) if one.group))


def is_served(group: str, version: str) -> bool:
    """Whether there is anything in a group version."""
    return any((one.group, one.version) == (group, version) for one in registry.all_resources())


def version(request: Request) -> Outcome:
    """The document at /version."""
    if accept(request.headers.get("accept", "")).media != JSON:
        return Document(dict(VERSION))
    return Raw(json.encode(VERSION), JSON)


def _wants_aggregated(header: str) -> str | None:
    """The version of the aggregated form asked for, if that comes before the plain one."""
    for clause in parse(header):
        if clause.media in ("*/*", JSON) and not clause.parameters.get("as"):
            return None
        asked = clause.media, clause.parameters.get("as"), clause.parameters.get("g")
        if asked == (JSON, AGGREGATED_KIND, AGGREGATED_GROUP) and clause.parameters.get("v") in ("v2", "v2beta1"):
            return clause.parameters["v"]
    return None


def _preferred(versions: Iterable[GroupVersion]) -> list[GroupVersion]:
    """Newer versions of a group first, groups in their order."""
    found = list(versions)
    order = {group: index for index, group in enumerate(dict.fromkeys(one.group for one in found))}
    return sorted(found, key=lambda one: (order[one.group], versions_order(one.version)))


def _resource_list(served: GroupVersion) -> Object:
    resources = []
    for resource in served.resources:
        resources.append(_legacy(resource))
        resources += [_legacy_subresource(resource, one) for one in resource.subresources if not one.own]
    head: Object = {"kind": "APIResourceList", "groupVersion": served.name, "resources": resources}
    return head | {"apiVersion": "v1"} if served.group else head


def _legacy(resource: Resource) -> Object:
    shown: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        shown["shortNames"] = list(resource.short_names)
    if resource.categories:
        shown["categories"] = list(resource.categories)
    if "list" in resource.verbs:
        identity = f"{resource.group}/{resource.plural}".encode()
        shown["storageVersionHash"] = hashlib.sha256(identity).hexdigest()[:11] + "="
    return shown


def _legacy_subresource(resource: Resource, one: Subresource) -> Object:
    shown: Object = {
        "name": f"{resource.plural}/{one.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": one.kind,
        "verbs": sorted(one.verbs),
    }
    if not _is_of(resource, one):
        shown |= {"group": one.group, "version": one.version}
    return shown


def _aggregated(versions: Iterable[GroupVersion]) -> Object:
    groups: dict[str, list[Object]] = {}
    for one in versions:
        entry = {
            "version": one.version,
            "resources": [_aggregated_resource(resource) for resource in one.resources],
            "freshness": "Current",
        }
        groups.setdefault(one.group, []).append(entry)
    items = [{"metadata": {"name": name} if name else {}, "versions": found} for name, found in groups.items()]
    return {"kind": AGGREGATED_KIND, "apiVersion": f"{AGGREGATED_GROUP}/v2", "metadata": {}, "items": items}


def _aggregated_resource(resource: Resource) -> Object:
    shown: Object = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        shown["shortNames"] = list(resource.short_names)
    if resource.categories:
        shown["categories"] = list(resource.categories)
    subresources = [one for one in resource.subresources if not one.own]
    if subresources:
        shown["subresources"] = [
            {"subresource": one.name, "responseKind": _response_kind(resource, one), "verbs": sorted(one.verbs)}
            for one in sorted(subresources, key=lambda one: one.name)
        ]
    return shown


def _is_of(resource: Resource, one: Subresource) -> bool:
    """Whether a subresource speaks the group version of its resource."""
    return one.kind == resource.kind or (one.group, one.version) == (resource.group, resource.version)


def _response_kind(resource: Resource, one: Subresource) -> dict[str, Any]:
    if _is_of(resource, one):
        return {"group": "", "version": "", "kind": one.kind}
    return {"group": one.group, "version": one.version, "kind": one.kind}


def _tagged(document: Object) -> tuple[bytes, str]:
    body = json.encode(document)
    return body, f'"{hashlib.sha256(body).hexdigest().upper()}"'
