"""ClusterRoles that are made of others: their rules follow the roles that their selectors choose.

Kubernetes has a controller for this (clusterrole-aggregation). Here it sits beside the authorizer, so that a role that
is aggregated into `view` counts at once, whether or not the controllers run. Several servers may do it side by side:
they write the same.
"""

import logging
from collections.abc import Iterable

from services.apiserver.auth.roles import GROUP
from services.apiserver.protocol import Object, Request
from services.apiserver.routes import Target
from services.apiserver.settling import keep_settled
from services.apiserver.store import Store
from services.apiserver.write import Writer
from shared.errors import NotFound
from shared.objects import meta, registry, selectors
from shared.objects.registry import Resource
from shared.state.cache import Change, Record

log = logging.getLogger(__name__)


def aggregated(role: Object, others: Iterable[Object]) -> list[Object]:
    """The rules of a role with an aggregationRule: those of all chosen roles, by selector and name, each rule once."""
    rules: list[Object] = []
    candidates = sorted((one for one in others if _name(one) != _name(role)), key=_name)
    for chosen_by in role["aggregationRule"].get("clusterRoleSelectors") or ():
        selector = selectors.from_label_selector(chosen_by)
        for one in candidates:
            if selector.matches(one["metadata"].get("labels") or {}):
                rules += (rule for rule in one.get("rules") or () if rule not in rules)
    return rules


class Aggregation:
    """Keeps the rules of aggregated roles current; `request` is whom the writes are recorded under."""

    def __init__(self, store: Store, writer: Writer, request: Request) -> None:
        self._store = store
        self._writer = writer
        self._request = request

    async def run(self) -> None:
        """Follow the changes of roles until cancelled."""
        await keep_settled("aggregated cluster roles", self._store.state.cache, _concerns, self.settle)

    async def settle(self) -> None:
        """Write aggregated roles until all are made of what they choose; one may be made of another."""
        resource = _cluster_roles()
        # a cycle of roles settles as well: rules are only ever joined
        while stale := self._stale(resource):
            for record in stale:
                await self._renew(resource, record.ref.name)

    def _stale(self, resource: Resource) -> list[Record]:
        records = self._store.list_objects(resource)
        objects = [record.object for record in records]
        return [
            record
            for record in records
            if record.object.get("aggregationRule")
            and (record.object.get("rules") or []) != aggregated(record.object, objects)
        ]

    async def _renew(self, resource: Resource, name: str) -> None:
        def make(record: Record) -> Object:
            renewed: Object = meta.copy(record.object)
            if renewed.get("aggregationRule"):
                others = [one.object for one in self._store.list_objects(resource)]
                renewed["rules"] = aggregated(renewed, others)
            return renewed

        try:
            await self._writer.change(self._request, Target(resource, "", name, None, False), make, None)
        except NotFound:
            log.debug("cluster role %s went while it was aggregated", name)


def _concerns(change: Change) -> bool:
    return change.record.ref[:2] == (GROUP, "clusterroles")


def _name(role: Object) -> str:
    return str(role["metadata"]["name"])


def _cluster_roles() -> Resource:
    found = registry.by_plural(GROUP, "v1", "clusterroles")
    assert found is not None
    return found
