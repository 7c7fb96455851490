"""Which pods of a Job are over, and the finalizer they carry until they are counted (KEP-2307)."""

from __future__ import annotations

from services.controllers.actions import Object, Patch
from services.controllers.claims import ref_of
from services.controllers.view import PODS
from shared.objects import meta

FINALIZER = "batch.kubernetes.io/job-tracking"


def has_finalizer(pod: Object) -> bool:
    """Whether the pod is not counted for good yet."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_failed(job: Object, pod: Object) -> bool:
    """Whether the pod counts as failed; one that is being deleted does unless podReplacementPolicy is Failed.

    One that is deleted before it has a node counts in any case: no node will ever say that it failed.
    """
    phase = meta.pod_phase(pod)
    if phase == "Failed":
        return True
    if not meta.is_deleting(pod) or phase == "Succeeded":
        return False
    return not replaces_only_failed(job) or not pod["spec"].get("nodeName")


def replaces_only_failed(job: Object) -> bool:
    """Whether a terminating pod holds its place until it is really over (KEP-3939)."""
    default = "Failed" if job["spec"].get("podFailurePolicy") else "TerminatingOrFailed"
    return bool(job["spec"].get("podReplacementPolicy", default) == "Failed")


def is_indexed(job: Object) -> bool:
    """Whether pods have completion indexes."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def completions(job: Object) -> int:
    """How many indexes an Indexed Job has."""
    return int(job["spec"].get("completions", 0))


def release(pod: Object) -> Patch:
    """Take the finalizer off a pod."""
    body = {"metadata": {"uid": pod["metadata"]["uid"], "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    return Patch(ref_of(*PODS, pod), body, "strategic")
