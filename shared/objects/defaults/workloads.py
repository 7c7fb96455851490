"""Defaults of what makes and sizes pods: strategies, jobs, replication controllers, autoscalers, device requests."""

from __future__ import annotations

from typing import Any

from shared.objects import meta, times
from shared.objects.defaults.rules import Object, Rule

_UNLIMITED_RETRIES = 2**31 - 1
_CPU_PERCENT = 80
_SCALE_UP: Object = {
    "selectPolicy": "Max",
    "stabilizationWindowSeconds": 0,
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN: Object = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


def _rolling(strategy: Object) -> None:
    if strategy.get("type") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {})


def _job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _UNLIMITED_RETRIES if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    template_labels = spec.get("template", {}).get("metadata", {}).get("labels")
    metadata = job.setdefault("metadata", {})
    if template_labels and not metadata.get("labels"):
        metadata["labels"] = meta.copy(template_labels)


def _replication_controller(controller: Object) -> None:
    spec = controller.setdefault("spec", {})
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not labels:
        return
    if not spec.get("selector"):
        spec["selector"] = dict(labels)
    metadata = controller.setdefault("metadata", {})
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _stateful_set_spec(spec: Object) -> None:
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")


def _autoscaler_spec(spec: Object) -> None:
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def _scaling_behavior(behavior: Object) -> None:
    for name, rules in (("scaleUp", _SCALE_UP), ("scaleDown", _SCALE_DOWN)):
        given: dict[str, Any] = behavior.get(name) or {}
        behavior[name] = {**meta.copy(rules), **given}


def _device_request(request: Object) -> None:
    mode = request.get("allocationMode") or "ExactCount"
    request["allocationMode"] = mode
    if mode == "ExactCount" and not request.get("count"):
        request["count"] = 1


def _device_taint(taint: Object) -> None:
    if not taint.get("timeAdded"):
        taint["timeAdded"] = times.now()


RULES: dict[str, Rule] = {
    "apps/v1.DeploymentStrategy": _rolling,
    "apps/v1.DaemonSetUpdateStrategy": _rolling,
    "apps/v1.StatefulSetSpec": _stateful_set_spec,
    "apps/v1.StatefulSetUpdateStrategy": _rolling,
    "autoscaling/v2.HorizontalPodAutoscalerSpec": _autoscaler_spec,
    "autoscaling/v2.HorizontalPodAutoscalerBehavior": _scaling_behavior,
    "batch/v1.Job": _job,
    "core/v1.ReplicationController": _replication_controller,
    "resource/v1.DeviceSubRequest": _device_request,
    "resource/v1.DeviceTaint": _device_taint,
    "resource/v1.ExactDeviceRequest": _device_request,
}
