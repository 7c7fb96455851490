"""The end of a pod: stop what runs in the right order, remove everything, tell the API. Pure.

Sidecars outlive the app containers and stop in reverse order, all within the pod's one grace period (KEP-753).
"""

from services.nodeagent.pods import specs
from services.nodeagent.pods.instructions import BeginStop, CleanUp, ConfirmDeletion
from services.nodeagent.pods.stopping import advance_stop
from services.nodeagent.pods.view import Plan, View


def end(view: View, plan: Plan) -> None:
    """The next steps of a pod that is to end."""
    record, now = view.record, view.now
    # frozen processes do not hear a signal, and those that have moved to another node, or not come here, must not
    deadline = now if record.checkpoint or record.awaiting else record.stop_by
    stage = _stage(view)
    for name in stage:
        container = record.container(name)
        due = max(deadline, now) if container.stop is None else min(deadline, container.stop.deadline)
        if container.stop is None or (due < container.stop.deadline and not container.stop.extended):
            plan.add(BeginStop(name, f"Stopping container {name}", due))
        else:
            advance_stop(view, plan, name, container)
    for name, container in record.containers.items():
        if name not in stage and container.stop is not None:
            advance_stop(view, plan, name, container)
    if stage or any(container.running for container in record.containers.values()):
        if now < deadline:
            plan.wake(deadline)
        return
    if not record.cleaned:
        failure = record.clean_failure
        if failure is not None and failure.retry_at > now:
            plan.wake(failure.retry_at)
        elif "clean" not in view.jobs:
            plan.add(CleanUp())
        return
    if record.deleted and view.pod["metadata"].get("deletionTimestamp"):
        _confirm(view, plan)


def _stage(view: View) -> list[str]:
    """Running containers whose turn to stop has come."""
    record, pod = view.record, view.pod
    sidecars = [spec["name"] for spec in specs.init_containers(pod) if specs.is_sidecar(spec)]
    running = [name for name, container in record.containers.items() if container.running]
    first = [name for name in running if name not in sidecars]
    if view.now >= record.stop_by:
        return running
    if first:
        return first
    return [name for name in reversed(sidecars) if name in running][:1]


def _confirm(view: View, plan: Plan) -> None:
    record = view.record
    if record.confirmed or view.removed or "confirm" in view.jobs:
        return
    if record.confirm_retry_at > view.now:
        plan.wake(record.confirm_retry_at)
        return
    plan.add(ConfirmDeletion())
