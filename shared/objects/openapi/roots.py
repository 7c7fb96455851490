"""Documents of what lies beside the resources: the lists of groups and versions, and /version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.objects import schema
from shared.objects.openapi import paths, schemas

_VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"

STRUCTS = ("meta/v1.APIVersions", "meta/v1.APIGroupList", "meta/v1.APIGroup")
SCHEMAS: dict[str, Any] = {
    _VERSION_INFO: {
        "type": "object",
        "properties": {
            name: {"type": "string"}
            for name in (
                "buildDate",
                "compiler",
                "emulationMajor",
                "emulationMinor",
                "gitCommit",
                "gitTreeState",
                "gitVersion",
                "goVersion",
                "major",
                "minCompatibilityMajor",
                "minCompatibilityMinor",
                "minor",
                "platform",
            )
        },
        "required": ["major", "minor", "gitVersion"],
    }
}


def names(groups: Iterable[str]) -> set[str]:
    """The names of these documents in the index, for the groups served; "" is the core group."""
    return {"api", "apis", "version", *(f"apis/{group}" for group in groups if group)}


def operations(name: str) -> dict[str, Any]:
    """The path items of one of these documents."""
    match name.split("/"):
        case ["version"]:
            return _get("/version/", "version", "getCodeVersion", _VERSION_INFO, ("application/json",))
        case ["api"]:
            return _get("/api/", "core", "getCoreAPIVersions", _meta("APIVersions"))
        case ["apis"]:
            return _get("/apis/", "apis", "getAPIVersions", _meta("APIGroupList"))
        case [_, group]:
            operation = f"get{paths.camel_group(group)}APIGroup"
            return _get(f"/apis/{group}/", paths.snake_group(group), operation, _meta("APIGroup"))
    raise KeyError(name)


def _meta(name: str) -> str:
    return schema.struct(f"meta/v1.{name}").openapi_name


def _get(path: str, tag: str, operation: str, answer: str, media: tuple[str, ...] = paths.MEDIA) -> dict[str, Any]:
    content = {one: {"schema": schemas.reference(answer)} for one in media}
    responses = {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}}
    return {path: {"get": {"tags": [tag], "operationId": operation, "responses": responses}}}
