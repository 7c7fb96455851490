"""Stopping one container: preStop hook, stop signal, SIGKILL at the deadline. Pure, like everything that decides."""

from services.nodeagent.pods import specs
from services.nodeagent.pods.instructions import RunPreStop, SignalContainer, SuspendContainer
from services.nodeagent.pods.records import ContainerRecord
from services.nodeagent.pods.view import Plan, View

# kubelet's minimumGracePeriodInSeconds: even a forced stop leaves a moment to exit cleanly, and so does a preStop hook,
# or another container that had to go first, which took all the time that there was.
MINIMUM_GRACE_S = 2.0


def advance_stop(view: View, plan: Plan, name: str, container: ContainerRecord) -> None:
    """The next step of a stop that has begun."""
    stop = container.stop
    if stop is None or not container.running or stop.killed:
        return
    if container.suspended and not view.record.awaiting:  # it has to hear what it is told
        plan.add(SuspendContainer(name, False))
        return
    if view.now >= stop.deadline:
        plan.add(SignalContainer(name, kill=stop.signalled or view.record.awaiting or bool(view.record.checkpoint)))
        return
    plan.wake(stop.deadline)
    if stop.signalled:
        return
    spec = specs.container_spec(view.pod, name) or {}
    if (spec.get("lifecycle") or {}).get("preStop") and not stop.pre_stop_done:
        if f"pre-stop/{name}" not in view.jobs:
            plan.add(RunPreStop(name, stop.deadline - view.now))
        return
    plan.add(SignalContainer(name, kill=False))
