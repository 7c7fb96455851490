"""What a cluster that starts still waits for: said while it lasts, and when the time that it was given is over."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable
from typing import Any

from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.progress import wait_for
from shared.cli.supervise import running
from shared.errors import ApiError
from shared.objects import meta
from shared.state.watermark import Watermark, watermark_path


class Readiness:
    """Waits for the parts of a cluster, all within `limit_s` seconds from now on."""

    def __init__(self, cluster: Cluster, limit_s: float) -> None:
        self.cluster = cluster
        self.limit_s = limit_s
        self._deadline = time.monotonic() + limit_s

    def wait_api(self) -> None:
        """Wait until the API server answers that it serves. ClusterError after the limit, and at once if it refuses
        what is left of the state log."""
        watermark = Watermark(watermark_path(self.cluster.data))
        with ApiSession(self.cluster, timeout_s=2) as session:

            def missing() -> list[str]:
                if complaint := watermark.complaint():
                    raise ClusterError(complaint)
                return [] if session.ready() else [self._api()]

            self._wait(missing)

    def wait_nodes(self, update: Callable[[str], None]) -> list[dict[str, Any]]:
        """Wait until every node is Ready, and return the Node objects. ClusterError after the limit."""
        nodes: dict[str, dict[str, Any]] = {}
        with ApiSession(self.cluster) as session:

            def missing() -> list[str]:
                try:
                    nodes.update({node["metadata"]["name"]: node for node in session.get("/api/v1/nodes")["items"]})
                except (ApiError, ClusterError):
                    return [self._api()]
                found = {name: self._of_node(name, nodes.get(name)) for name in self.cluster.nodes}
                waiting = [text for text in found.values() if text]
                update(f"{len(found) - len(waiting)} of {len(found)}{'; ' * bool(waiting)}{''.join(waiting[:1])}")
                return waiting

            self._wait(missing)
        return list(nodes.values())

    def _wait(self, missing: Callable[[], list[str]]) -> None:
        last: list[str] = []

        def complete() -> bool:
            last[:] = missing()
            return not last

        wait_for(complete, self._deadline - time.monotonic(), lambda: late(self.limit_s, last))

    def _api(self) -> str:
        log = self.cluster.logs / "apiserver.log"
        if "apiserver" in running(self.cluster.run):
            return f"the API server does not answer yet (see {log})"
        return f"the API server is down (see {log} and {self.cluster.logs / 'nats.log'})"

    def _of_node(self, name: str, node: dict[str, Any] | None) -> str:
        """What is missing of a node, or ""."""
        log = self.cluster.logs / f"{name}.agent.log"
        if node is None:
            state = "has not registered" if f"{name}.agent" in running(self.cluster.run) else "has no running agent"
            return f"{name} {state} (see {log})"
        if not meta.condition_true(node, "Ready"):
            return f"{name} is not Ready{reason(node)} (see {log})"
        # the condition of an earlier run may still stand, so the agent itself is asked as well
        return "" if agent_ready(self.cluster.node_address(name)) else f"{name}'s agent does not answer (see {log})"


def late(limit_s: float, missing: list[str]) -> str:
    """The sentence that ends a start which took too long. What was started goes on, hence the advice."""
    return (
        f"not ready after {limit_s:g} s: {'; '.join(missing)}; everything was started and goes on: `wherry status` "
        "tells how far it is, and `wherry up --timeout 10m` waits longer"
    )


def reason(node: dict[str, Any]) -> str:
    """The message of a node's condition Ready, after a colon, or ""."""
    message = (meta.condition(node, "Ready") or {}).get("message")
    return f": {message}" if message else ""


def agent_ready(address: str) -> bool:
    """Whether a node's agent answers that it serves its pods."""
    connection = http.client.HTTPConnection(address, 10250, timeout=1)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
