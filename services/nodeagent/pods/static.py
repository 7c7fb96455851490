"""Static pods: read from files of the node, so that it can run what the control plane itself depends on.

A pod's uid is a hash of its file, so a restarted agent knows it again and a changed file is another pod. Pure; the
`staticpods` module follows the directory.

Source: Kubernetes "Create static pods"; the annotations and the name are kubelet's.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError
from shared.errors import BadRequest
from shared.objects import json

SOURCE, HASH, SEEN = (f"kubernetes.io/config.{name}" for name in ("source", "hash", "seen"))
MIRROR = "kubernetes.io/config.mirror"
SUFFIXES = (".yaml", ".yml", ".json")

# What comes from the API, of which a pod that must run without it cannot depend.
_REFERENCES = ("configMap", "secret", "persistentVolumeClaim", "ephemeral", "projected")


def is_static(pod: Mapping[str, Any]) -> bool:
    """Whether a pod came from a file of this node."""
    notes = pod["metadata"].get("annotations") or {}
    return notes.get(SOURCE, "api") == "file" and MIRROR not in notes


def mirror_hash(pod: Mapping[str, Any]) -> str:
    """The uid of the static pod that an object of the API stands for, "" if it is no mirror."""
    return str((pod["metadata"].get("annotations") or {}).get(MIRROR) or "")


def read(path: Path, data: bytes, node: str, seen: str) -> dict[str, Any]:
    """The pod that a file describes, as it runs on `node`; `seen` (RFC 3339) is when it was read first.

    Raises ConfigurationError naming the file and what is wrong with it.
    """
    # The schema is large, and an agent without static pods has no use for it.
    from shared.objects import decoding, registry
    from shared.objects.defaults import apply_defaults
    from shared.objects.validation import validate_create

    resource = registry.by_plural("", "v1", "pods")
    assert resource is not None
    kind = "application/json" if path.suffix == ".json" else "application/yaml"
    try:
        pod = json.decode(data, kind).object
        if pod.get("kind") != "Pod" or pod.get("apiVersion") != "v1":
            raise ConfigurationError(f"{path}: holds a {pod.get('kind') or 'document without kind'}, not a v1 Pod")
        unknown = decoding.conform(resource.schema, pod)
    except BadRequest as exc:
        raise ConfigurationError(f"{path}: {exc}") from exc
    if unknown:
        raise ConfigurationError(f"{path}: {unknown[0]}")
    pod.pop("status", None)
    metadata = pod.setdefault("metadata", {})
    if not metadata.get("name"):
        raise ConfigurationError(f"{path}: metadata.name is missing")
    metadata["name"] = f"{metadata['name']}-{node}"
    metadata.setdefault("namespace", "default")
    identity = hashlib.md5(b"\0".join((node.encode(), str(path).encode(), data)), usedforsecurity=False).hexdigest()
    metadata["uid"] = identity
    metadata["creationTimestamp"] = seen
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        HASH: identity,
        SEEN: seen,
        SOURCE: "file",
    }
    spec = pod.setdefault("spec", {})
    spec["nodeName"] = node
    # the node itself decided to run it: no taint drives it out
    everything = {"operator": "Exists", "effect": "NoExecute"}
    spec["tolerations"] = [*(spec.get("tolerations") or ()), everything]
    apply_defaults(resource, pod)
    causes = validate_create(resource, pod)
    if causes:
        raise ConfigurationError(f"{path}: {causes[0].field}: {causes[0].message}")
    if dependency := _dependency(spec):
        raise ConfigurationError(f"{path}: {dependency} needs the API, which a static pod may not depend on")
    return pod


def _dependency(spec: Mapping[str, Any]) -> str:
    if spec.get("serviceAccountName"):
        return "spec.serviceAccountName"
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in _REFERENCES:
            if volume.get(kind) and not _is_downward(volume):
                return f"spec.volumes[{index}].{kind}"
    groups = ("initContainers", "containers")
    for group in groups:
        for index, container in enumerate(spec.get(group) or ()):
            place = f"spec.{group}[{index}]"
            if container.get("envFrom"):
                return f"{place}.envFrom"
            for number, variable in enumerate(container.get("env") or ()):
                if {"configMapKeyRef", "secretKeyRef"} & (variable.get("valueFrom") or {}).keys():
                    return f"{place}.env[{number}].valueFrom"
    return ""


def _is_downward(volume: Mapping[str, Any]) -> bool:
    sources = (volume.get("projected") or {}).get("sources") or ()
    return bool(sources) and all(set(source) == {"downwardAPI"} for source in sources)


def mirror(pod: Mapping[str, Any], node: Mapping[str, Any] | None) -> dict[str, Any]:
    """The object that shows a static pod in the API; `node` is the Node, which owns it."""
    metadata = pod["metadata"]
    notes = {**metadata["annotations"], MIRROR: metadata["uid"]}
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "annotations": notes,
            **({"labels": metadata["labels"]} if metadata.get("labels") else {}),
        },
        "spec": pod["spec"],
    }
    if node is not None:
        owner = {"apiVersion": "v1", "kind": "Node", "controller": True}
        made["metadata"]["ownerReferences"] = [
            {**owner, "name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
        ]
    return made
