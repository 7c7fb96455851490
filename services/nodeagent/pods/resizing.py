"""In-place resize (KEP-1287): a change is first granted, if the node has room, then carried out: in the control groups,
or by a restart where the container's resizePolicy says so.
"""

from collections.abc import Mapping
from typing import Any

from services.nodeagent import metrics
from services.nodeagent.layout import sandbox_id
from services.nodeagent.pods import admission, resources
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.grants import desired, granted_pod, needs_restart
from services.nodeagent.pods.records import ContainerRecord, Failure
from services.nodeagent.pods.setting import PodSetting
from shared.errors import RuntimeFailure
from shared.objects import quantities

RETRY_S = 10.0


async def resize(tools: Facilities, setting: PodSetting, spec: Mapping[str, Any], container: ContainerRecord) -> None:
    """Grant and carry out the resources that a running container's spec asks for; a failure ends up in its record."""
    pod, record, wanted = setting.pod, setting.record, desired(spec)
    if container.allocated != wanted:
        refusal = _refusal(tools, pod)
        if refusal is not None:
            reason, message = refusal
            _fail(tools, setting, container, reason, message)
            return
        container.allocated = wanted
        container.resize_failure = None
        tools.checkpoints.save_record(record)
        tools.events.pod(pod, "Normal", "ResizeStarted", f"Resize of container {spec['name']} started", spec["name"])
    if needs_restart(spec, container.resources, wanted):
        container.kill_reason = f"Container {spec['name']} resize requires restart"
        return
    try:
        with metrics.cgroup_duration.labels("update").time():
            await _apply(tools, setting, spec, container)
    except RuntimeFailure as exc:
        _fail(tools, setting, container, "Error", str(exc))
        return
    container.resources, container.resize_failure = wanted, None
    tools.events.pod(pod, "Normal", "ResizeCompleted", f"Resize of container {spec['name']} completed", spec["name"])


def _refusal(tools: Facilities, pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """(reason, message) if the node cannot grant it now (Deferred) or ever (Infeasible)."""
    for name in ("memory", "cpu"):
        requested, capacity = admission.request(pod, name), quantities.milli(tools.node.allocatable[name])
        if requested > capacity:
            amounts = f"requested: {admission.shown(name, requested)}, capacity: {admission.shown(name, capacity)}"
            return "Infeasible", f"Node didn't have enough capacity: {name}, {amounts}"
    together = tools.admit(pod)
    return None if together is None else ("Deferred", together[1])


async def _apply(tools: Facilities, setting: PodSetting, spec: Mapping[str, Any], container: ContainerRecord) -> None:
    """The pod's own group grows before its container's does, and shrinks after it."""
    sandbox = sandbox_id(setting.record.uid, setting.record.sandbox_attempt)
    whole = resources.pod_resources(granted_pod(setting.pod, setting.record))
    own = resources.container_resources(setting.pod, spec)
    grows = _memory(spec.get("resources") or {}) >= _memory(container.resources)
    if grows:
        await tools.runtime.update_sandbox_resources(sandbox, whole)
    await tools.runtime.update_resources(container.container_id, own)
    if not grows:
        await tools.runtime.update_sandbox_resources(sandbox, whole)


def _memory(amounts: Mapping[str, Any]) -> int:
    return quantities.value(str((amounts.get("limits") or {}).get("memory", "0")))


def _fail(tools: Facilities, setting: PodSetting, container: ContainerRecord, reason: str, message: str) -> None:
    now = tools.clock()
    before = container.resize_failure
    container.resize_failure = Failure(reason, message, now, now + RETRY_S)
    if before is None or (before.reason, before.message) != (reason, message):
        tools.events.pod(setting.pod, "Warning", f"Resize{reason}", message, container.name)
