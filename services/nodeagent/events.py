"""Events about pods and the node, in the words that `kubectl describe` users know."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

log = logging.getLogger(__name__)

_GROUPS = ("initContainers", "containers", "ephemeralContainers")


class Recorder(Protocol):
    """What tells the API; never waits, never fails."""

    def record(
        self, obj: Mapping[str, Any], kind: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None: ...


class Events:
    """The node's events. `kind` is Normal or Warning."""

    def __init__(self, recorder: Recorder, node: str) -> None:
        self._recorder = recorder
        # kubelet's convention: the uid of an involved node is its name, and `kubectl describe node` looks for that.
        self._node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "uid": node}}

    def pod(self, pod: Mapping[str, Any], kind: str, reason: str, message: str, container: str = "") -> None:
        """An event about a pod, or about one container of it."""
        metadata = pod["metadata"]
        log.info("%s/%s %s: %s", metadata["namespace"], metadata["name"], reason, message)
        path = f"spec.{_group(pod, container)}{{{container}}}" if container else ""
        self._recorder.record({"apiVersion": "v1", "kind": "Pod", **pod}, kind, reason, message, field_path=path)

    def about(self, obj: Mapping[str, Any], kind: str, reason: str, message: str) -> None:
        """An event about any other object."""
        log.info("%s %s %s: %s", obj.get("kind", ""), obj["metadata"]["name"], reason, message)
        self._recorder.record(obj, kind, reason, message)

    def node(self, kind: str, reason: str, message: str) -> None:
        """An event about this node."""
        log.info("node %s: %s", reason, message)
        self._recorder.record(self._node, kind, reason, message)


def _group(pod: Mapping[str, Any], container: str) -> str:
    for group in _GROUPS:
        if any(spec["name"] == container for spec in pod["spec"].get(group) or ()):
            return group
    return "containers"
