"""The functions of Kubernetes' CEL environment: the standard ones, cel-go's extensions and Kubernetes' own."""

from __future__ import annotations

import functools

from shared.objects.cel.declarations import Library
from shared.objects.cel.library import (
    authorization,
    collections,
    conversions,
    formats,
    networks,
    operators,
    optionals,
    patterns,
    quantities,
    sets,
    strings,
    times,
    urls,
    versions,
)

_MODULES = (
    operators,
    conversions,
    times,
    strings,
    patterns,
    collections,
    sets,
    optionals,
    quantities,
    urls,
    networks,
    formats,
    versions,
    authorization,
)


@functools.cache
def kubernetes() -> Library:
    """Everything an expression in Kubernetes may call (1.36)."""
    made = Library()
    for module in _MODULES:
        made.include(module.library)
    return made
