"""The probes of all containers of one pod, kept in step with which attempts run."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from services.nodeagent import metrics
from services.nodeagent.events import Events
from services.nodeagent.pods import specs
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.pods.view import ProbeResult
from services.nodeagent.probes.prober import Outcome, Prober, Target, container_ports
from services.nodeagent.probes.schedule import KINDS, ContainerProbes


class PodProbes:
    """`on_change` is called when a result settles."""

    def __init__(self, setting: PodSetting, prober: Prober, events: Events, on_change: Callable[[], None]) -> None:
        self._setting = setting
        self._prober = prober
        self._events = events
        self._on_change = on_change
        self._probes: dict[str, ContainerProbes] = {}

    def results(self) -> dict[str, ProbeResult]:
        """What the probes of the present attempts have found, by container name."""
        record = self._setting.record
        return {
            name: probes.result
            for name, probes in self._probes.items()
            if probes.target.container_id == record.container(name).container_id
        }

    def follow(self, group: asyncio.TaskGroup) -> None:
        """Begin the probes of containers that run, end those of containers that do not."""
        pod, record = self._setting.pod, self._setting.record
        for spec in (*specs.init_containers(pod), *specs.app_containers(pod)):
            name, container = spec["name"], record.container(spec["name"])
            present = self._probes.get(name)
            # what stands still cannot answer, and is not to be blamed
            still = container.suspended or bool(record.checkpoint)
            wanted = container.running and container.post_start_done and bool(record.addresses) and not still
            if present is not None and (not wanted or present.target.container_id != container.container_id):
                self._probes.pop(name).stop()
                present = None
            if wanted and present is None and any(f"{kind}Probe" in spec for kind in KINDS):
                probes = ContainerProbes(
                    self._prober,
                    spec,
                    target(self._setting, spec),
                    self._on_change,
                    partial(self._probed, name),
                    started=container.started,
                )
                self._probes[name] = probes
                probes.start(group)

    def end_restarts(self) -> None:
        """The pod is going away: nothing is restarted for a probe any more."""
        for probes in self._probes.values():
            probes.end_restarts()

    def stop(self) -> None:
        for probes in self._probes.values():
            probes.stop()

    def _probed(self, name: str, kind: str, outcome: Outcome) -> None:
        layout = self._setting.layout
        result = "successful" if outcome.success else "failed"
        labels = (kind.capitalize(), result, name, layout.name, layout.namespace, layout.uid)
        metrics.probe_total.labels(*labels).inc()
        if not outcome.success:
            what = "errored and resulted in unknown state" if outcome.unknown else "failed"
            # a command that fails without a word is told of by what it did not print, as kubelet does
            said = outcome.output if outcome.output is not None else outcome.message
            text = f"{kind.capitalize()} probe {what}: {said}"
            self._events.pod(self._setting.pod, "Warning", "Unhealthy", text, name)


def target(setting: PodSetting, spec: Mapping[str, Any]) -> Target:
    """What a check of a container's present attempt is directed at."""
    record = setting.record
    address = record.addresses[0] if record.addresses else ""
    return Target(record.container(spec["name"]).container_id, address, container_ports(spec))
