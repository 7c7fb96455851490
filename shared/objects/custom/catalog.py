"""Which custom resources a process serves or works on: those of the established definitions in its cache.

Every process follows the log by itself, so a definition is served wherever it has arrived, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shared.errors import WherryError
from shared.events.subjects import Ref
from shared.objects import json, meta, registry
from shared.objects.custom import kinds
from shared.objects.registry import Resource

GROUP = "apiextensions.k8s.io"
PLURAL = "customresourcedefinitions"

log = logging.getLogger(__name__)


class _Record(Protocol):
    @property
    def ref(self) -> Ref: ...
    @property
    def object(self) -> dict[str, Any]: ...


class _Change(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def record(self) -> Any: ...


class Catalog:
    """Feed it with the changes of a cache; `close` takes everything out of the registry again.

    `on_replaced(group, plural)` is called when resources changed or went, for whoever watches them.
    """

    def __init__(self, on_replaced: Callable[[str, str], None] = lambda group, plural: None) -> None:
        self._on_replaced = on_replaced
        self._served: dict[str, tuple[bytes, tuple[Resource, ...]]] = {}

    def changed(self, change: _Change) -> None:
        """Serve, serve anew or stop serving what a changed definition defines."""
        record: _Record = change.record
        if record.ref[:2] != (GROUP, PLURAL):
            return
        name = record.ref.name
        if change.type == "DELETED" or not is_established(record.object):
            self._replace(name, b"", ())
            return
        definition = record.object
        form = hashlib.sha256(json.encode([definition["spec"], kinds.accepted_names(definition)])).digest()
        before = self._served.get(name)
        if before is not None and before[0] == form:
            for one in before[1]:
                if one.schema.custom is not None:
                    one.schema.custom.is_terminating = meta.is_deleting(definition)
            return
        try:
            made = kinds.resources(definition)
        except (KeyError, TypeError, ValueError, WherryError):
            log.exception("custom resource definition %s cannot be served", name)
            made = ()
        self._replace(name, form, made)

    def close(self) -> None:
        for name in list(self._served):
            self._replace(name, b"", ())

    def _replace(self, name: str, form: bytes, made: tuple[Resource, ...]) -> None:
        _, before = self._served.pop(name, (b"", ()))
        if made:
            self._served[name] = form, made
        registry.publish(name, made)
        for one in before:
            if one.schema.custom is not None:
                one.schema.custom.is_replaced = True
            self._on_replaced(one.group, one.plural)


def is_established(definition: Mapping[str, Any]) -> bool:
    condition = meta.condition(definition, "Established")
    return condition is not None and condition.get("status") == "True"
