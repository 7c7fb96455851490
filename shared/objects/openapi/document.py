"""One document per group version, and the index of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.objects import registry
from shared.objects.openapi import paths, roots, schemas
from shared.objects.registry import Resource

VERSION = "v1.36.2"
"""The Kubernetes release whose API is described."""


def index() -> dict[str, Any]:
    """The /openapi/v3 index: `{"paths": {"apis/apps/v1": {"serverRelativeURL": ...}}}`, without content hashes."""
    served = _group_versions(registry.all_resources())
    groups = (group for group, _version in _built_in())
    names = sorted({*roots.names(groups), *(document_name(*one) for one in served)})
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in names}}


def document(name: str) -> dict[str, Any]:
    """The OpenAPI v3 document of that name in the index; KeyError if there is none."""
    served = _built_in()
    if name in roots.names(group for group, _version in served):
        return _document(roots.operations(name), schemas.structs(roots.STRUCTS, served) | roots.SCHEMAS)
    resources = [one for one in registry.all_resources() if document_name(one.group, one.version) == name]
    if not resources:
        raise KeyError(f"OpenAPI document {name} does not exist")
    return _document(paths.operations(resources), schemas.reachable(resources, served))


def _document(operations: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": operations,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer Token authentication",
                    "name": "authorization",
                    "in": "header",
                }
            },
        },
    }


def document_name(group: str, version: str) -> str:
    """How a group version is called in the index: api/v1, apis/apps/v1."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _built_in() -> list[tuple[str, str]]:
    """The group versions of the server's own kinds, which the options of all requests are part of."""
    return _group_versions(one for one in registry.all_resources() if one.schema.custom is None)


def _group_versions(resources: Iterable[Resource]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.group, one.version) for one in resources))
