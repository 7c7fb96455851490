"""ConfigMaps and Secrets: each is watched by itself, and only while a pod on this node refers to it.

A node therefore never holds secrets of others, and a change reaches a volume without any polling. What was seen last is
kept on the tmpfs below RUN, so that an agent that restarts while the control plane is away can still start containers.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from services.nodeagent import stored
from services.nodeagent.environment import ConfigurationError
from services.nodeagent.link import Informer, InformerFactory

log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""(configmaps or secrets, namespace, name)"""


def referenced(pod: Mapping[str, Any]) -> set[Key]:
    """Every ConfigMap and Secret that a pod refers to."""
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    keys = {("secrets", namespace, entry["name"]) for entry in spec.get("imagePullSecrets") or () if "name" in entry}
    for volume in spec.get("volumes") or ():
        keys.update(_of_volume(volume, namespace))
    groups = ("initContainers", "containers", "ephemeralContainers")
    for container in (c for group in groups for c in spec.get(group) or ()):
        for source in container.get("envFrom") or ():
            keys.update(_named(source, namespace, "configMapRef", "secretRef"))
        for variable in container.get("env") or ():
            keys.update(_named(variable.get("valueFrom") or {}, namespace, "configMapKeyRef", "secretKeyRef"))
    return keys


def _of_volume(volume: Mapping[str, Any], namespace: str) -> Iterable[Key]:
    yield from _named(volume, namespace, "configMap", "secret")
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from _named(source, namespace, "configMap", "secret")


def _named(holder: Mapping[str, Any], namespace: str, config_map: str, secret: str) -> Iterable[Key]:
    for kind, field in (("configmaps", config_map), ("secrets", secret)):
        reference = holder.get(field) or {}
        name = reference.get("secretName") or reference.get("name")
        if name:
            yield kind, namespace, name


class _Entry:
    def __init__(self, informer: Informer, known: Mapping[str, Any] | None) -> None:
        self.informer = informer
        self.known = known
        self.task: asyncio.Task[None] | None = None
        self.users: set[str] = set()


class References:
    """Objects that pods refer to. `on_change(key, uids)` is called when one changes, with the pods that use it."""

    def __init__(self, informers: InformerFactory, directory: Path, on_change: Callable[[Key, set[str]], None]) -> None:
        self._informers = informers
        self._directory = directory
        self._on_change = on_change
        self._entries: dict[Key, _Entry] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for key, entry in self._entries.items():
                    self._watch(key, entry)
                await asyncio.Event().wait()
        finally:
            self._group = None

    def want(self, uid: str, keys: set[Key]) -> None:
        """Let the pod `uid` use exactly `keys` from now on; an empty set releases all."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                kind, namespace, name = key
                path = f"/api/v1/namespaces/{namespace}/{kind}"
                informer = self._informers(path, {"fieldSelector": f"metadata.name={name}"})
                document = stored.read(self._path(key)) or {}
                entry = self._entries[key] = _Entry(informer, document.get("object"))
                self._watch(key, entry)
            entry.users.add(uid)
        for key, entry in list(self._entries.items()):
            if key not in keys and uid in entry.users:
                entry.users.discard(uid)
                if not entry.users:
                    self._drop(key, entry)

    def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """See environment.ObjectSource."""
        entry = self._entries.get((kind, namespace, name))
        if entry is not None:
            if entry.informer.synced:
                return entry.informer.items.get((namespace, name))
            if entry.known is not None:
                return entry.known
        raise ConfigurationError(f"{kind[:-1]} {namespace}/{name} has not been read yet")

    async def wait_known(self, keys: Iterable[Key]) -> None:
        """Wait until each of `keys` is known to exist or not."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None and entry.known is None and not entry.informer.synced:
                await entry.informer.wait_synced()

    def _watch(self, key: Key, entry: _Entry) -> None:
        if self._group is None:
            return

        def changed(event: str, obj: dict[str, Any], old: dict[str, Any] | None) -> None:
            entry.known = None if event == "DELETED" else obj
            self._remember(key, entry)
            self._on_change(key, set(entry.users))

        entry.informer.on_change = changed
        entry.task = self._group.create_task(entry.informer.run(), name=f"watch {'/'.join(key)}")

    def _remember(self, key: Key, entry: _Entry) -> None:
        if entry.known is None:
            self._path(key).unlink(missing_ok=True)
        else:
            stored.write(self._path(key), {"object": entry.known})

    def _drop(self, key: Key, entry: _Entry) -> None:
        del self._entries[key]
        if entry.task is not None:
            entry.task.cancel()
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: Key) -> Path:
        kind, namespace, name = key
        return self._directory / kind / f"{namespace}_{name}.json"
