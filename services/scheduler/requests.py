"""What a pod asks of a node, as a vector: one column a resource name.

Columns are interned once per process, so that nodes x resources is one integer matrix. CPU counts in thousandths of a
core, everything else in its own unit (bytes, pieces).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.objects import quantities

Vector = npt.NDArray[np.int64]

CPU, MEMORY, EPHEMERAL_STORAGE, PODS = range(4)
# What a container without a request is taken to need when nodes are compared (not when fit is judged), so that such
# pods spread as well; the values are the ones kube-scheduler documents for NonZeroRequested.
UNSTATED_CPU_MILLI = 100
UNSTATED_MEMORY_BYTES = 200 << 20


class Columns:
    """Resource name <-> column number; extended resources get theirs when they are first seen."""

    def __init__(self) -> None:
        self.names = ["cpu", "memory", "ephemeral-storage", "pods"]
        self.numbers = {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        if (number := self.numbers.get(name)) is None:
            number = self.numbers[name] = len(self.names)
            self.names.append(name)
        return number

    def amounts(self, resources: Mapping[str, Any]) -> dict[int, int]:
        """`{"cpu": "250m"}` as column -> amount."""
        return {
            self.number(name): quantities.milli(str(text)) if name == "cpu" else quantities.value(str(text))
            for name, text in resources.items()
        }

    def vector(self, amounts: Mapping[int, int]) -> Vector:
        """The amounts as a dense vector of today's width."""
        dense = np.zeros(len(self), dtype=np.int64)
        for number, amount in amounts.items():
            dense[number] = amount
        return dense


def pod_requests(columns: Columns, spec: Mapping[str, Any]) -> dict[int, int]:
    """The effective request of a pod, by column.

    The larger of what the containers need together and what any init container needs while it runs; sidecars
    (restartable init containers, KEP-753) count from their start on. Requests of the pod itself (KEP-2837) win over
    the sum of its containers. `pods` is always 1.
    """
    total: dict[int, int] = {}
    for container in spec.get("containers", ()):
        _add(total, columns.amounts(_requests(container)))
    sidecars: dict[int, int] = {}
    peak: dict[int, int] = {}
    for container in spec.get("initContainers", ()):
        amounts = columns.amounts(_requests(container))
        if container.get("restartPolicy") == "Always":
            _add(sidecars, amounts)
            _raise_to(peak, sidecars)
        else:
            _add(amounts, sidecars)
            _raise_to(peak, amounts)
    _add(total, sidecars)
    _raise_to(total, peak)
    total.update(columns.amounts(spec.get("resources", {}).get("requests") or {}))
    _add(total, columns.amounts(spec.get("overhead") or {}))
    total[PODS] = 1
    return total


def scored_requests(requests: Mapping[int, int], containers: int) -> tuple[int, int]:
    """(cpu, memory) by which nodes are compared, with a stand-in for what the pod leaves unstated."""
    return (
        requests.get(CPU) or UNSTATED_CPU_MILLI * containers,
        requests.get(MEMORY) or UNSTATED_MEMORY_BYTES * containers,
    )


def _requests(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return (container.get("resources") or {}).get("requests") or {}


def _add(total: dict[int, int], amounts: Mapping[int, int]) -> None:
    for number, amount in amounts.items():
        total[number] = total.get(number, 0) + amount


def _raise_to(total: dict[int, int], amounts: Mapping[int, int]) -> None:
    for number, amount in amounts.items():
        total[number] = max(total.get(number, 0), amount)
