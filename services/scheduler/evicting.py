"""Driving pods out for a more important one: they are told why, and end as gracefully as if a user had deleted them.

Source: Kubernetes "Pod priority and preemption"; "Disruptions" for the condition DisruptionTarget.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from services.scheduler.conditions import condition
from services.scheduler.snapshot import Key
from shared.bus.api import ApiClient
from shared.bus.recorder import EventRecorder
from shared.errors import ApiError, BusError, NotFound
from shared.events.subjects import Ref
from shared.state.cache import Cache

log = logging.getLogger(__name__)

TEXT = "default-scheduler: preempting to accommodate a higher priority pod"


class Evictions:
    """Ends the victims of preemption."""

    def __init__(self, cache: Cache, api: ApiClient, recorder: EventRecorder) -> None:
        self._cache = cache
        self._api = api
        self._recorder = recorder

    async def evict(self, victims: Sequence[Key], pod: Mapping[str, Any], node: str) -> None:
        """Delete the victims on `node` in favour of `pod`. One that cannot be deleted now is chosen again later."""
        for namespace, name in victims:
            record = self._cache.get(Ref("", "pods", namespace, name))
            if record is None:
                continue
            try:
                await self._delete(record.object)
            except NotFound:
                continue
            except (ApiError, BusError) as exc:
                log.warning("pod %s/%s could not be preempted: %s", namespace, name, exc)
                continue
            text = f"Preempted by pod {pod['metadata']['uid']} on node {node}"
            self._recorder.record(record.object, "Normal", "Preempted", text, action="Preempting")

    async def _delete(self, victim: Mapping[str, Any]) -> None:
        metadata = victim["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        told = condition(victim, "DisruptionTarget", "True", reason="PreemptionByScheduler", message=TEXT)
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [told]}}
        await self._api.patch(f"{path}/status", body, kind="strategic")
        await self._api.delete(path, {"preconditions": {"uid": metadata["uid"]}})
