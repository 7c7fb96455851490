"""How often each index of an Indexed Job may fail: backoffLimitPerIndex (KEP-3850).

How often an index has failed is written on its pods and handed on from a failed pod to its replacement. So the last
failed pod of an index keeps its finalizer, and with it its existence, until the replacement is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from services.controllers.actions import Object, soonest
from services.controllers.jobs import failures, indexes, tracking
from shared.objects import meta

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
_MOST = 2**31 - 1


def limit(job: Object) -> int | None:
    """How often an index may fail and be tried again, None if only the Job's failures are limited."""
    found = job["spec"].get("backoffLimitPerIndex") if tracking.is_indexed(job) else None
    return None if found is None else int(found)


def failed_for_good(job: Object, pods: Iterable[Object]) -> set[int]:
    """Indexes whose pod failed once more than they may, or in a way that podFailurePolicy calls FailIndex."""
    allowed = limit(job)
    if allowed is None:
        return set()
    found: set[int] = set()
    for pod in pods:
        index = _index_to_count(job, pod)
        if index is None or not tracking.is_failed(job, pod):
            continue
        action, _ = failures.action_for(job, pod)
        if action == "FailIndex" or (action != "Ignore" and _number(pod, FAILURES) >= allowed):
            found.add(index)
    return found


def to_replace(job: Object, pods: Sequence[Object], over: Set[int]) -> dict[int, Object]:
    """The last failed pod of each index that is neither over nor running again."""
    if limit(job) is None:
        return {}
    running = {indexes.of_pod(pod) for pod in pods if meta.pod_active(pod)}
    found: dict[int, Object] = {}
    for pod in pods:
        index = _index_to_count(job, pod)
        if index is None or index in over or index in running or not tracking.is_failed(job, pod):
            continue
        if index not in found or _order(pod) > _order(found[index]):
            found[index] = pod
    return found


def due(wanted: Iterable[int], replaced: Mapping[int, Object], now: float) -> tuple[list[int], float | None]:
    """Which of the wanted indexes may start now, and in how many seconds the next of the others may."""
    ready: list[int] = []
    again: float | None = None
    for index in wanted:
        pod = replaced.get(index)
        wait = 0.0 if pod is None else failures.left(attempts(pod) + 1, failures.finished_at(pod), now)
        if wait > 0:
            again = soonest(again, wait)
        else:
            ready.append(index)
    return ready, again


def next_annotations(job: Object, replaced: Object | None) -> dict[str, str]:
    """What the next pod of an index is to carry, given the failed pod that it replaces."""
    if limit(job) is None:
        return {}
    if replaced is None:
        return {FAILURES: "0"}
    counted, ignored = _number(replaced, FAILURES), _number(replaced, IGNORED)
    if failures.action_for(job, replaced)[0] == "Ignore":
        ignored += 1
    else:
        counted += 1
    return {FAILURES: str(counted)} | ({IGNORED: str(ignored)} if ignored else {})


def attempts(pod: Object) -> int:
    """How many pods of the same index failed before this one, those that podFailurePolicy ignores included."""
    return _number(pod, FAILURES) + _number(pod, IGNORED)


def _index_to_count(job: Object, pod: Object) -> int | None:
    """The valid index of a pod that is not counted for good yet."""
    index = indexes.of_pod(pod)
    if index is None or index >= tracking.completions(job) or not tracking.has_finalizer(pod):
        return None
    return index


def _number(pod: Object, annotation: str) -> int:
    """The int32 in an annotation; users can write it, so what is absent or malformed is 0."""
    found = indexes.number(meta.annotations(pod).get(annotation, ""))
    return found if found is not None and found <= _MOST else 0


def _order(pod: Object) -> tuple[int, float, str]:
    return attempts(pod), failures.finished_at(pod), pod["metadata"]["name"]
