"""One container's entry in the pod's status: state, lastState, ready, started, as kubectl users know them.

Source: core/v1 ContainerStatus; the waiting reasons are kubelet's (CrashLoopBackOff, ImagePullBackOff, ...).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.nodeagent import durations
from services.nodeagent.pods import specs
from services.nodeagent.pods.records import ERROR_SHOWN_S, ContainerRecord, Failure, Phase, PodRecord, Termination
from services.nodeagent.pods.view import NO_RESULT, ProbeResult

_SHOWN_AS_BACKOFF = ("ErrImagePull", "RegistryUnavailable")


def stamp(moment: float) -> str:
    """RFC 3339 in UTC with whole seconds, as in metav1.Time."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_started(spec: Mapping[str, Any], container: ContainerRecord, result: ProbeResult) -> bool:
    """Whether the container runs and has passed its startup probe; what was known before counts until a new result."""
    if not container.running or not container.post_start_done:
        return False
    if not spec.get("startupProbe"):
        return True
    return container.started if result.startup is None else result.startup


def is_ready(spec: Mapping[str, Any], container: ContainerRecord, result: ProbeResult) -> bool:
    """Whether the container may receive traffic."""
    if not is_started(spec, container, result) or container.suspended:
        return False
    if not spec.get("readinessProbe"):
        return True
    return container.ready if result.readiness is None else result.readiness


def container_status(
    pod: Mapping[str, Any],
    record: PodRecord,
    spec: Mapping[str, Any],
    probes: Mapping[str, ProbeResult],
    now: float,
) -> dict[str, Any]:
    """The status of one container at `now` (unix seconds)."""
    name = spec["name"]
    container = record.containers.get(name) or ContainerRecord(name)
    result = probes.get(name, NO_RESULT)
    is_init = any(s["name"] == name for s in specs.init_containers(pod))
    ordinary_init = is_init and not specs.is_sidecar(spec)
    state, last = _states(pod, record, spec, container, now)
    ready = is_ready(spec, container, result)
    if any(s["name"] == name for s in specs.ephemeral_containers(pod)):
        ready = False  # no traffic is ever meant for it
    if ordinary_init:
        ended = state.get("terminated")
        ready = ended is not None and ended["exitCode"] == 0
    status: dict[str, Any] = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "started": is_started(spec, container, result),
        "restartCount": max(container.attempt, 0),
        "image": container.image or spec.get("image", ""),
        "imageID": container.image_id,
    }
    if container.container_id:
        status["containerID"] = f"wherry://{container.container_id}"
    if container.running and container.resources:
        status["resources"] = container.resources
        allocated = container.resources if container.allocated is None else container.allocated
        if allocated.get("requests"):
            status["allocatedResources"] = allocated["requests"]
    if container.running and container.user is not None:
        uid, gid, groups = container.user
        status["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}}
    if (spec.get("lifecycle") or {}).get("stopSignal") and container.container_id:
        status["stopSignal"] = container.stop_signal
    if spec.get("volumeMounts"):
        status["volumeMounts"] = [_mount_status(mount) for mount in spec["volumeMounts"]]
    return status


def _mount_status(mount: Mapping[str, Any]) -> dict[str, Any]:
    status = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        recursive = mount.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        status.update(readOnly=True, recursiveReadOnly="Enabled" if recursive else "Disabled")
    return status


def _states(
    pod: Mapping[str, Any], record: PodRecord, spec: Mapping[str, Any], container: ContainerRecord, now: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, lastState)."""
    last = {"terminated": _terminated(container.last)} if container.last else {}
    if container.running:
        if container.post_start_done:
            return {"running": {"startedAt": stamp(container.started_at)}}, last
        return _waiting(_default_reason(pod, record, spec)), last
    ending = record.deleted or record.finished
    waiting = None if ending and container.termination else waiting_reason(pod, record, spec, container, now)
    ended = container.termination
    if ended is None:
        return waiting or _waiting(_default_reason(pod, record, spec)), last
    if waiting is None:
        return {"terminated": _terminated(ended)}, last
    return waiting, {"terminated": _terminated(ended)}


def waiting_reason(
    pod: Mapping[str, Any], record: PodRecord, spec: Mapping[str, Any], container: ContainerRecord, now: float
) -> dict[str, Any] | None:
    """The waiting state of a container that is to start again or could not start, None if nothing holds it."""
    if container.phase is Phase.EXITED and container.termination is not None:
        ended = container.termination.finished_at
        if (
            (trouble := container.trouble) is not None
            and now < ended + ERROR_SHOWN_S
            and _restarts(pod, spec, container)
        ):
            return _waiting(trouble.reason, trouble.message)
        until = container.backoff.until(ended)
        if now < until and _restarts(pod, spec, container):
            delay = durations.text(int(container.backoff.delay))
            return _waiting(
                "CrashLoopBackOff",
                f"back-off {delay} restarting failed container={spec['name']} pod={specs.place(pod)}",
            )
    missing = record.volumes_failure
    if missing is not None and missing.reason != "FailedMount" and (reference := _image_mounted(pod, spec)):
        return _pull_waiting(reference, missing, now)
    if container.pull_failure is not None:
        return _pull_waiting(spec.get("image", ""), container.pull_failure, now)
    if container.start_failure is not None:
        return _waiting(container.start_failure.reason, container.start_failure.message)
    return None


def _image_mounted(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """The image of the first image volume that the container mounts, "" if there is none."""
    mounted = {mount["name"] for mount in spec.get("volumeMounts") or ()}
    volumes = (v for v in pod["spec"].get("volumes") or () if v.get("image") and v["name"] in mounted)
    return next((str(volume["image"].get("reference") or "") for volume in volumes), "")


def _pull_waiting(reference: str, failure: Failure, now: float) -> dict[str, Any]:
    if failure.reason in _SHOWN_AS_BACKOFF and now >= failure.since + ERROR_SHOWN_S:
        message = f'Back-off pulling image "{reference}": {failure.reason}: {failure.message}'
        return _waiting("ImagePullBackOff", message)
    return _waiting(failure.reason, failure.message)


def _restarts(pod: Mapping[str, Any], spec: Mapping[str, Any], container: ContainerRecord) -> bool:
    if any(s["name"] == spec["name"] for s in specs.init_containers(pod)):
        return specs.is_sidecar(spec) or specs.restarts_init(pod, spec, container.termination)
    return container.termination is not None and specs.restarts(pod, spec, container.termination)


def _default_reason(pod: Mapping[str, Any], record: PodRecord, spec: Mapping[str, Any]) -> str:
    inits = specs.init_containers(pod)
    is_init = any(s["name"] == spec["name"] for s in inits)
    return "PodInitializing" if inits and (is_init or not record.initialized) else "ContainerCreating"


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def _terminated(ended: Termination) -> dict[str, Any]:
    state: dict[str, Any] = {"exitCode": ended.exit_code, "reason": ended.reason}
    if ended.signal:
        state["signal"] = ended.signal
    if ended.message:
        state["message"] = ended.message
    if ended.started_at:
        state["startedAt"] = stamp(ended.started_at)
    state["finishedAt"] = stamp(ended.finished_at)
    state["containerID"] = f"wherry://{ended.container_id}"
    return state
