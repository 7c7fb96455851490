"""One document per group version, and the index of them."""

from __future__ import annotations

from typing import Any

from shared.objects import registry
from shared.objects.openapi import paths, schemas
from shared.objects.registry import Resource

VERSION = "v1.36.2"
"""The Kubernetes release whose API is described."""


def index() -> dict[str, Any]:
    """The /openapi/v3 index: `{"paths": {"apis/apps/v1": {"serverRelativeURL": ...}}}`, without content hashes."""
    names = dict.fromkeys(_name(one.group, one.version) for one in registry.all_resources())
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in names}}


def document(group: str, version: str) -> dict[str, Any]:
    """The OpenAPI v3 document of a group version; KeyError if it is not served."""
    resources = [one for one in registry.all_resources() if (one.group, one.version) == (group, version)]
    if not resources:
        raise KeyError(f"group version {_name(group, version)} is not served")
    served = _group_versions(registry.all_resources())
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths.operations(resources),
        "components": {
            "schemas": schemas.reachable(resources, served),
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


def _name(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _group_versions(resources: tuple[Resource, ...]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.group, one.version) for one in resources))
