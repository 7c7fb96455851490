"""The order of API versions by name: v2 before v1 before v1beta2 before v1alpha1 before anything else."""

from __future__ import annotations

import re

_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?", re.ASCII)
_STAGES = {None: 0, "beta": 1, "alpha": 2}


def order(version: str) -> tuple[int, int, int, str]:
    """A sort key, the most preferred version first (apimachinery's CompareKubeAwareVersionStrings)."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    return (_STAGES[match[2]], -int(match[1]), -int(match[3] or 0), version)
