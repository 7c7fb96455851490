"""Taking a pod away: containers, sandbox, network, volumes; then its confirmation; then its last traces."""

import logging

from services.nodeagent import trees
from services.nodeagent.link import is_offline
from services.nodeagent.pods import setting as settings
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.setting import PodSetting
from shared.errors import ApiError, BusError, Conflict, NotFound

log = logging.getLogger(__name__)

RETRY_S = 2.0
# Logs of this many attempts are kept while the pod exists: the present one and the previous one.
KEPT_LOGS = 2


async def clean_up(tools: Facilities, setting: PodSetting) -> None:
    """Undo everything but logs and checkpoint. Raises an ExceptionGroup of all that failed."""
    await settings.cleanup([*tools.volume_hooks, *tools.sandbox_hooks], setting)
    for container in setting.record.containers.values():
        tools.images.release(container.container_id)


async def confirm_deletion(tools: Facilities, setting: PodSetting) -> bool:
    """Delete the object for good, after its last status was published; True if it is gone already.

    Source: kubelet deletes with gracePeriodSeconds 0 and the uid as precondition once nothing is left on the node.
    """
    layout, record = setting.layout, setting.record
    if not await tools.publisher.wait_published(record.uid):
        return True
    path = f"/api/v1/namespaces/{layout.namespace}/pods/{layout.name}"
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": record.uid}}
    try:
        await tools.api.delete(path, {"apiVersion": "v1", "kind": "DeleteOptions", **options})
    except (NotFound, Conflict):
        return True
    except (ApiError, BusError) as exc:
        level = logging.DEBUG if is_offline(exc) else logging.ERROR
        log.log(level, "deletion of pod %s/%s is not confirmed yet: %s", layout.namespace, layout.name, exc)
        record.confirm_retry_at = tools.clock() + RETRY_S
        return False
    record.confirmed = True
    return False


async def remove_container(tools: Facilities, setting: PodSetting, identity: str) -> None:
    """Remove what is left of an ended container: the keeper's memory of it, its writable layer, old logs."""
    await tools.runtime.remove_container(identity)
    tools.images.release(identity)
    await trees.remove_all(setting.layout.writable(identity))
    for container in setting.record.containers.values():
        for old in range(max(container.attempt - KEPT_LOGS - 1, 0), container.attempt - KEPT_LOGS + 1):
            layout = setting.layout
            for path in layout.log(container.name, old).parent.glob(f"{old}.log*"):
                path.unlink(missing_ok=True)
            layout.termination_log(container.name, old).unlink(missing_ok=True)


async def forget(tools: Facilities, setting: PodSetting) -> None:
    """Remove the last traces of a pod that the API no longer knows: its logs and its checkpoint."""
    layout = setting.layout
    tools.publisher.forget(setting.record.uid)
    tools.references.want(setting.record.uid, set())
    # The checkpoint goes last: until then a restarted agent would finish this.
    await trees.remove_all(layout.logs, layout.volatile, layout.root)
