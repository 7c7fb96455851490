"""A pod that a migration brings: made whole on this node, its restored processes frozen, before the API moves it. Pure.

So a migration whose restoring fails ends where it began. What the pod is made of may be thrown away at any time and
made again, because none of its processes has run here.
"""

from services.nodeagent.pods.records import ContainerRecord, Phase, PodRecord

# what `starting` gives an attempt that never ran
START_ERROR = "StartError"


def outcome(record: PodRecord) -> str | None:
    """Why the pod cannot go on here, "" once all that ran is restored, None while that is not known yet."""
    if record.finished:
        return record.end_message or "the pod has ended"
    failures = [record.volumes_failure, record.sandbox_failure]
    for name in record.restoring:
        container = record.container(name)
        failures += [container.pull_failure, container.start_failure]
        if container.termination is not None:
            return f"container {name}: {container.termination.message or container.termination.reason}"
    for failure in failures:
        if failure is not None:
            return failure.message
    return "" if all(record.container(name).running for name in record.restoring) else None


def is_restored(container: ContainerRecord) -> bool:
    """Whether a container that was to be restored is, or was until it ended by itself."""
    if container.phase is Phase.EXITED and container.termination is not None:
        return container.termination.reason != START_ERROR
    return container.running
