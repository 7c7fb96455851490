"""Definitions and custom resources for tests."""

import asyncio
from typing import Any

from shared.errors import NotFound
from tests.slowness import LIMIT_S
from tests.unit.services.apiserver.memory_api import MemoryApi

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BOATS = "/apis/river.example/v1/namespaces/default/boats"

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def version(name: str = "v1", schema: Any = None, *, storage: bool = True, **more: Any) -> dict[str, Any]:
    spec = {"openAPIV3Schema": schema if schema is not None else ANYTHING}
    return {"name": name, "served": True, "storage": storage, "schema": spec, **more}


def spec_of(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A schema whose spec has these properties."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties, **more}}}


def definition(
    *versions: Any, plural: str = "boats", kind: str = "Boat", group: str = "river.example", **more: Any
) -> dict[str, Any]:
    names = {"plural": plural, "kind": kind, **more.pop("names", {})}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": list(versions) or [version()], **more}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": spec,
    }


async def define(api: MemoryApi, *versions: Any, **more: Any) -> dict[str, Any]:
    """Create a definition and wait until it is established."""
    body = definition(*versions, **more)
    await api.create(DEFINITIONS, body)
    return await until_condition(api, body["metadata"]["name"], "Established")


async def until_condition(api: MemoryApi, name: str, kind: str, status: str = "True") -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        while True:
            found: dict[str, Any] = await api.get(f"{DEFINITIONS}/{name}")
            for one in found["status"].get("conditions") or ():
                if (one["type"], one["status"]) == (kind, status):
                    return found
            await asyncio.sleep(0.005)


async def until_gone(api: MemoryApi, url: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                answer = await api.get(url)
            except NotFound:
                return
            if isinstance(answer, bytes):
                return
            await asyncio.sleep(0.005)


def boat(name: str = "b", spec: Any = None, *, at: str = "v1", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"apiVersion": f"river.example/{at}", "kind": "Boat", "metadata": {"name": name}, **more}
    return made if spec is None else made | {"spec": spec}
