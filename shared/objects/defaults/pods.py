"""Defaults of pods, containers and volumes, and of the resource lists of pods and nodes."""

from __future__ import annotations

from shared.objects import quantities
from shared.objects.defaults.rules import Object, Rule


def _pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container.get("resources")
        if resources and resources.get("limits"):
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports", ()):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    if (spec.get("resources") or {}).get("limits"):
        _pod_level_requests(spec)


def _pod_level_requests(spec: Object) -> None:
    """A pod's own requests default to what its containers ask for together, else to its limits (KEP-2837)."""
    resources = spec["resources"]
    requests: dict[str, str] = dict(resources.get("requests") or {})
    asked = [(one.get("resources") or {}).get("requests") or {} for one in spec.get("containers", ())]
    for name in {key for one in asked for key in one} | resources["limits"].keys():
        if name in requests or not (name in ("cpu", "memory") or name.startswith("hugepages-")):
            continue
        amounts = [one[name] for one in asked if name in one]
        if amounts:
            requests[name] = quantities.format_milli(sum(quantities.milli(one) for one in amounts))
        else:
            requests[name] = resources["limits"][name]
    resources["requests"] = requests


def _pod_spec(spec: Object) -> None:
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _container(container: Object) -> None:
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy(container.get("image", ""))


def pull_policy(image: str) -> str:
    """Always for the latest tag, said or implied; IfNotPresent for any other tag and for a digest."""
    name, _, digest = image.rpartition("/")[2].partition("@")
    _, colon, tag = name.partition(":")
    if colon:
        return "Always" if tag == "latest" else "IfNotPresent"
    return "IfNotPresent" if digest or not image else "Always"


def _image_volume(source: Object) -> None:
    if "pullPolicy" not in source:
        source["pullPolicy"] = pull_policy(source.get("reference", ""))


def _volume(volume: Object) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}


def _resources(resources: Object) -> None:
    for name in ("limits", "requests"):
        _round_to_milli(resources.get(name))


def _node_status(status: Object) -> None:
    if "allocatable" not in status and "capacity" in status:
        status["allocatable"] = dict(status["capacity"])
    _round_to_milli(status.get("capacity"))
    _round_to_milli(status.get("allocatable"))


def _round_to_milli(amounts: dict[str, str] | None) -> None:
    for name, amount in (amounts or {}).items():
        if amount[-1] in "nu":
            amounts[name] = quantities.rounded_to_milli(amount)  # type: ignore[index]


RULES: dict[str, Rule] = {
    "core/v1.Pod": _pod,
    "core/v1.PodSpec": _pod_spec,
    "core/v1.Container": _container,
    "core/v1.EphemeralContainer": _container,
    "core/v1.ImageVolumeSource": _image_volume,
    "core/v1.Volume": _volume,
    "core/v1.ResourceRequirements": _resources,
    "core/v1.VolumeResourceRequirements": _resources,
    "core/v1.NodeStatus": _node_status,
}
