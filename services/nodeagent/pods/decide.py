"""The life of a pod as a pure function: what is known goes in, instructions come out, nothing is done here.

The worker calls `decide` after every event, carries out what it is told and calls again until nothing is left; an
instruction whose job is still under way is not repeated. Wrong turns of kubelet's that users met (a pod that starts a
container after its deletion, init containers run twice) are therefore tests on values, not on timing.

Source: Kubernetes "Pod lifecycle", KEP-753 (sidecars), KEP-2238 (probe-level grace periods).
"""

from collections.abc import Mapping
from typing import Any

from services.nodeagent.pods import awaiting, specs, suspending
from services.nodeagent.pods.ending import end
from services.nodeagent.pods.instructions import (
    BeginStop,
    CreateSandbox,
    EndPod,
    MarkInitialized,
    NoteRestored,
    PrepareVolumes,
    PullImage,
    ResizeContainer,
    RunPostStart,
    SettleCheckpoint,
    StartContainer,
    SuspendContainer,
    Terminate,
)
from services.nodeagent.pods.records import ERROR_SHOWN_S, ContainerRecord, Phase
from services.nodeagent.pods.stopping import advance_stop
from services.nodeagent.pods.view import NO_RESULT, Plan, View


def decide(view: View) -> Plan:
    """What to do now."""
    plan = Plan()
    record, pod, now = view.record, view.pod, view.now
    if record.checkpoint and not view.removed:
        if not record.capturing and "settle" not in view.jobs:
            plan.add(SettleCheckpoint())
        return plan
    if record.awaiting and not view.removed:
        if awaiting.outcome(record) is None:
            _run(view, plan)
        return plan
    grace = _deletion_grace(view)
    if grace is not None and (not record.deleted or grace < record.grace):
        plan.add(Terminate(grace))
        return plan
    if record.deleted or record.finished:
        end(view, plan)
        return plan
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        plan.add(EndPod())
        return plan
    deadline = pod["spec"].get("activeDeadlineSeconds")
    if deadline is not None and record.started_at:
        due = record.started_at + float(deadline)
        if now >= due:
            plan.add(EndPod("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"))
            return plan
        plan.wake(due)
    for name, container in record.containers.items():
        if container.stop is not None:
            advance_stop(view, plan, name, container)
    _run(view, plan)
    for name in record.restoring:
        if awaiting.is_restored(record.container(name)):
            plan.add(NoteRestored(name))
    return plan


def _deletion_grace(view: View) -> float | None:
    """Seconds that a deleted pod has, None if it is not deleted."""
    metadata = view.pod["metadata"]
    if metadata.get("deletionTimestamp"):
        grace = metadata.get("deletionGracePeriodSeconds")
        return specs.grace_seconds(view.pod) if grace is None else float(grace)
    return specs.grace_seconds(view.pod) if view.removed else None


def _run(view: View, plan: Plan) -> None:
    record, now = view.record, view.now
    if not record.volumes_ready:
        failure = record.volumes_failure
        if failure is not None and failure.retry_at > now:
            plan.wake(failure.retry_at)
            if failure.reason != "FailedMount" and now < failure.since + ERROR_SHOWN_S:
                plan.wake(failure.since + ERROR_SHOWN_S)  # an image is shown as its back-off from then on
        elif "volumes" not in view.jobs:
            plan.add(PrepareVolumes())
        return
    if not record.sandbox_ready:
        _make_sandbox(view, plan)
        return
    if not record.initialized and not _initialize(view, plan):
        return
    if record.initialized:
        _keep_sidecars(view, plan)
    else:
        plan.add(MarkInitialized())
    _run_apps(view, plan)


def _make_sandbox(view: View, plan: Plan) -> None:
    record, pod = view.record, view.pod
    if any(container.running for container in record.containers.values()):
        return
    failure = record.sandbox_failure
    if failure is not None and failure.retry_at > view.now:
        plan.wake(failure.retry_at)
        return
    if record.sandbox_attempt < 0:
        plan.add(CreateSandbox(0))
        return
    ran = any(record.container(spec["name"]).attempt >= 0 for spec in specs.every_container(pod))
    if not ran:
        plan.add(CreateSandbox(record.sandbox_attempt + (0 if record.sandbox_exists else 1)))
        return
    # A pod that never restarts is over once its sandbox is lost; one whose containers all succeeded stays so.
    if any(_starts_again(pod, spec, record.container(spec["name"])) for spec in specs.app_containers(pod)):
        plan.add(CreateSandbox(record.sandbox_attempt + 1))
    else:
        plan.add(EndPod())


def _starts_again(pod: Mapping[str, Any], spec: Mapping[str, Any], container: ContainerRecord) -> bool:
    if container.termination is None:
        return specs.restart_policy(pod) != "Never"
    return specs.restarts(pod, spec, container.termination)


def _initialize(view: View, plan: Plan) -> bool:
    """Run init containers up to the first that is not done; whether all are."""
    record, pod = view.record, view.pod
    for spec in specs.init_containers(pod):
        container = record.container(spec["name"])
        present = container.attempt >= 0 and container.sandbox_attempt == record.sandbox_attempt
        if specs.is_sidecar(spec):
            if not _keep_sidecar(view, plan, spec, container, present):
                return False
            continue
        if present and container.phase is Phase.EXITED and container.termination is not None:
            if container.termination.exit_code == 0:
                continue
            if not specs.restarts_init(pod, spec, container.termination):
                plan.add(EndPod())
                return False
        if present and container.running:
            _watch_running(view, plan, spec, container, restart=True)
        else:
            _launch(view, plan, spec, container)
        return False
    return True


def _keep_sidecar(view: View, plan: Plan, spec: Mapping[str, Any], container: ContainerRecord, present: bool) -> bool:
    """Start or watch a sidecar; whether the containers after it may start."""
    if not (present and container.running):
        _launch(view, plan, spec, container)
        # One that ran in this sandbox before holds nobody up while it restarts.
        return present and _later_ones_ran(view, spec)
    if not _watch_running(view, plan, spec, container, restart=True):
        return False
    return _started(view, spec) or _later_ones_ran(view, spec)


def _later_ones_ran(view: View, spec: Mapping[str, Any]) -> bool:
    names = [s["name"] for s in specs.init_containers(view.pod)]
    later = names[names.index(spec["name"]) + 1 :]
    current = view.record.sandbox_attempt
    return any(view.record.container(n).sandbox_attempt == current for n in later)


def _started(view: View, spec: Mapping[str, Any]) -> bool:
    if not spec.get("startupProbe"):
        return True
    return view.probes.get(spec["name"], NO_RESULT).startup is True


def _keep_sidecars(view: View, plan: Plan) -> None:
    record = view.record
    for spec in specs.init_containers(view.pod):
        if specs.is_sidecar(spec):
            container = record.container(spec["name"])
            _keep_sidecar(view, plan, spec, container, container.sandbox_attempt == record.sandbox_attempt)


def _run_apps(view: View, plan: Plan) -> None:
    record, pod = view.record, view.pod
    for spec in specs.ephemeral_containers(pod):
        container = record.container(spec["name"])
        if container.attempt < 0 or container.phase is Phase.STARTING:
            _launch(view, plan, spec, container)
    done = 0
    apps = specs.app_containers(pod)
    for spec in apps:
        container = record.container(spec["name"])
        if container.running:
            again = specs.comes_back_after_failure(pod, spec)
            if not _watch_running(view, plan, spec, container, restart=again):
                return
            continue
        if (
            container.phase is Phase.EXITED
            and container.termination is not None
            and not specs.restarts(pod, spec, container.termination)
        ):
            done += 1
            continue
        if _launch(view, plan, spec, container) and (spec.get("lifecycle") or {}).get("postStart"):
            return
    if done == len(apps):
        plan.add(EndPod())


def _watch_running(
    view: View, plan: Plan, spec: Mapping[str, Any], container: ContainerRecord, *, restart: bool
) -> bool:
    """Look after a running container; False while its postStart hook holds up the containers after it."""
    name = spec["name"]
    if container.stop is not None or view.record.awaiting:
        return True
    if not container.post_start_done:
        if f"post-start/{name}" not in view.jobs:
            plan.add(RunPostStart(name))
        return False
    suspend = suspending.wanted(view.pod, name)
    if container.suspended != suspend:
        plan.add(SuspendContainer(name, suspend))
        return True
    suffix = ", will be restarted" if restart else ""
    result = view.probes.get(name, NO_RESULT)
    if container.kill_reason:
        plan.add(BeginStop(name, container.kill_reason, view.now + specs.grace_seconds(view.pod)))
    elif container.spec_hash and container.spec_hash != specs.spec_hash(spec):
        reason = f"Container {name} definition changed, will be restarted"
        plan.add(BeginStop(name, reason, view.now + specs.grace_seconds(view.pod)))
    elif result.liveness is False or result.startup is False:
        kind = "liveness" if result.liveness is False else "startup"
        probe = spec.get(f"{kind}Probe") or {}
        grace = probe.get("terminationGracePeriodSeconds")
        seconds = specs.grace_seconds(view.pod) if grace is None else float(grace)
        plan.add(BeginStop(name, f"Container {name} failed {kind} probe{suffix}", view.now + seconds))
    elif container.resources != (spec.get("resources") or {}):
        failure = container.resize_failure
        if failure is not None and failure.retry_at > view.now:
            plan.wake(failure.retry_at)
        else:
            plan.add(ResizeContainer(name))
    return True


def _launch(view: View, plan: Plan, spec: Mapping[str, Any], container: ContainerRecord) -> bool:
    """One more start of a container: after its back-off, with its image. Whether it is started now."""
    name, now = spec["name"], view.now
    if view.record.awaiting and name not in view.record.restoring:
        return False
    if f"pull/{name}" in view.jobs:
        return False
    if container.phase is Phase.EXITED and container.termination is not None:
        ended = container.termination.finished_at
        until = container.backoff.until(ended)
        if now < until:
            plan.wake(until)
            if container.trouble is not None and now < ended + ERROR_SHOWN_S:
                plan.wake(ended + ERROR_SHOWN_S)
            return False
    for failure in (container.pull_failure, container.start_failure):
        if failure is not None and now < failure.retry_at:
            plan.wake(failure.retry_at)
            if now < failure.since + ERROR_SHOWN_S:
                plan.wake(failure.since + ERROR_SHOWN_S)
            return False
    if not container.pulled:
        plan.add(PullImage(name))
        return False
    plan.add(StartContainer(name, container.attempt + (0 if container.phase is Phase.STARTING else 1)))
    return True
