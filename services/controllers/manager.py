"""All controllers of one leadership: their loops, what wakes them, and their common end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from services.controllers.bootstraptokens import BootstrapTokens
from services.controllers.certificates.cleaning import CertificateCleaning
from services.controllers.certificates.signing import CertificateSigning
from services.controllers.cronjobs.reconciler import CronJobs
from services.controllers.daemonsets.reconciler import DaemonSets
from services.controllers.deployments.reconciler import Deployments
from services.controllers.disruption import DisruptionBudgets
from services.controllers.endpoints.mirror import MirroredSlices
from services.controllers.endpoints.reconcilers import Endpoints, EndpointSlices
from services.controllers.garbage import Garbage
from services.controllers.jobs.orphans import JobOrphans
from services.controllers.jobs.reconciler import Jobs
from services.controllers.loop import Loop, Progress, Reconciler
from services.controllers.namespaces import Namespaces
from services.controllers.nodes.cidrs import NodeRanges
from services.controllers.nodes.eviction import TaintEviction
from services.controllers.nodes.lifecycle import NodeLifecycle
from services.controllers.nodes.presence import Presence
from services.controllers.podgarbage import PodGarbage
from services.controllers.protection.attributes import AttributesClassProtection
from services.controllers.protection.claims import ClaimProtection
from services.controllers.protection.volumes import VolumeProtection
from services.controllers.quota.reconciler import Quotas
from services.controllers.replicasets import ReplicaSets, ReplicationControllers
from services.controllers.serviceaccounts import RootCertificates, ServiceAccounts
from services.controllers.settings import ControllerSettings
from services.controllers.statefulsets.reconciler import StatefulSets
from services.controllers.view import View
from services.controllers.volumes.claims import PersistentVolumeClaims
from services.controllers.volumes.ephemeral import EphemeralVolumes
from services.controllers.volumes.volumes import PersistentVolumes
from services.controllers.writer import Api, Writer
from shared.bus.recorder import EventRecorder
from shared.events.subjects import Ref
from shared.state.cache import Change


class Manager:
    """Runs every controller against one view. Feed it with `changed` and `lease_changed`, then `run` it."""

    def __init__(
        self,
        view: View,
        cache: Progress,
        api: Api,
        presence: Presence,
        settings: ControllerSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._recorder = EventRecorder(api, "controllers", clock=clock)
        self._view = view
        self._lifecycle = NodeLifecycle(presence)
        self._eviction = TaintEviction(presence)
        reconcilers: list[Reconciler[Any]] = [
            Deployments(),
            ReplicaSets(),
            ReplicationControllers(),
            DaemonSets(),
            StatefulSets(),
            Jobs(),
            JobOrphans(),
            CronJobs(),
            EndpointSlices(),
            Endpoints(),
            MirroredSlices(),
            DisruptionBudgets(),
            Namespaces(),
            ServiceAccounts(),
            RootCertificates(settings.certificate),
            Garbage(),
            PodGarbage(),
            Quotas(),
            ClaimProtection(),
            VolumeProtection(),
            AttributesClassProtection(),
            NodeRanges(settings.pod_range),
            PersistentVolumeClaims(),
            PersistentVolumes(),
            EphemeralVolumes(),
            CertificateSigning(settings.authority),
            CertificateCleaning(),
            BootstrapTokens(),
            self._lifecycle,
            self._eviction,
        ]
        self._loops: dict[str, Loop[Any]] = {}
        for reconciler in reconcilers:
            component = f"{reconciler.name.replace('_', '-')}-controller"
            writer = Writer(api, self._recorder.of(component))
            self._loops[reconciler.name] = Loop(reconciler, view, cache, writer, clock)

    def changed(self, change: Change) -> None:
        """Tell every controller of a change that the view has taken in."""
        ref, obj, previous = parts(change)
        for loop in self._loops.values():
            loop.changed(ref, obj, previous)

    def lease_changed(self, node: str) -> None:
        """A node appeared or fell silent: look at it and at its pods."""
        self._loops[self._lifecycle.name].queue.add(("", node))
        for key in self._eviction.of_node(node, self._view):
            self._loops[self._eviction.name].queue.add(key)

    def idle(self) -> bool:
        """No controller has anything to do now."""
        return all(loop.queue.idle() for loop in self._loops.values())

    async def run(self, lost: asyncio.Event) -> None:
        """Work until leadership is lost."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._recorder.run(), name="event recorder")]
            tasks += [group.create_task(loop.run(), name=name) for name, loop in self._loops.items()]
            await lost.wait()
            for task in tasks:
                task.cancel()


def parts(change: Change) -> tuple[Ref, dict[str, Any] | None, dict[str, Any] | None]:
    """The ref of a change, the object after it and the object before it."""
    after = None if change.type == "DELETED" else change.record.object
    before = change.previous.object if change.previous is not None else None
    return change.record.ref, after, before
