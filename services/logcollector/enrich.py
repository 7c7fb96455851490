"""What a record says about its pod: read once from the directory's name and the agent's pod.json.

Source: the field names of fluent-plugin-kubernetes_metadata_filter, which dashboards and queries know.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POD_FILE = "pod.json"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's log directory. `documented` tells whether the agent has written pod.json yet."""

    namespace: str
    name: str
    uid: str
    labels: dict[str, str]
    images: dict[str, str]
    containers: dict[str, str]
    documented: bool

    def kubernetes(self, container: str, host: str) -> dict[str, Any]:
        """The `kubernetes` field of the records of one container."""
        return {
            "namespace_name": self.namespace,
            "pod_name": self.name,
            "pod_id": self.uid,
            "labels": self.labels,
            "host": host,
            "container_name": container,
            "container_image": self.images.get(container, ""),
        }


def read_pod(directory: Path) -> Pod | None:
    """The pod of a log directory `<namespace>_<pod>_<uid>`, None if the name has another form."""
    parts = directory.name.split("_")
    if len(parts) != 3 or not all(parts):
        return None
    namespace, name, uid = parts
    try:
        document = json.loads((directory / POD_FILE).read_bytes())
        containers = document.get("containers") or {}
        images = {key: str(value.get("image") or "") for key, value in containers.items()}
        ids = {key: str(value.get("containerID") or "") for key, value in containers.items()}
        labels = {str(k): str(v) for k, v in (document.get("labels") or {}).items()}
    except (OSError, ValueError, AttributeError):
        return Pod(namespace, name, uid, {}, {}, {}, documented=False)
    return Pod(namespace, name, uid, labels, images, ids, documented=True)
