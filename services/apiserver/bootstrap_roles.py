"""The default roles and bindings, created in a new cluster and brought up to date in an old one.

Without them nobody but administrators and nodes may ask for anything, not even which kinds there are.
"""

import asyncio
import logging

from services.apiserver.auth import policy
from services.apiserver.auth.roles import GROUP
from services.apiserver.protocol import Object, Request
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.write import Writer
from shared.errors import AlreadyExists
from shared.objects import meta, registry
from shared.state.cache import Record

log = logging.getLogger(__name__)

# how many are written side by side: the log acknowledges them together
AT_ONCE = 32


async def bootstrap_roles(store: Store, writer: Writer, request: Request) -> None:
    """Create the default roles and bindings that are missing, complete those that may be updated."""
    defaults = list(policy.defaults())
    for start in range(0, len(defaults), AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for plural, default in defaults[start : start + AT_ONCE]:
                name = default["metadata"]["name"]
                group.create_task(_ensure(store, writer, request, plural, default), name=f"bootstrap {plural} {name}")


async def _ensure(store: Store, writer: Writer, request: Request, plural: str, default: Object) -> None:
    resource = registry.by_plural(GROUP, "v1", plural)
    assert resource is not None
    namespace, name = default["metadata"].get("namespace", ""), default["metadata"]["name"]
    present = store.peek(resource, namespace, name)
    if present is None:
        body = {"apiVersion": resource.api_version, "kind": resource.kind} | default
        try:
            await writer.store_new(request, resource, namespace, body)
        except AlreadyExists:
            log.debug("another server created %s %s", plural, name)
        return

    def make(record: Record) -> Object:
        return policy.reconciled(record.object, default) or meta.copy(record.object)

    if policy.reconciled(present.object, default) is not None:
        log.info("the default %s %s is brought up to date", plural, name)
        await writer.change(request, Target(resource, namespace, name, None, False), make, None)
