"""The volumes of a pod: each kind made, filled, kept up to date and taken away.

Volumes of API objects lie below RUN (a tmpfs), so that no secret reaches a disk; they are rewritten when an object
changes and when a token is due.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError, NodeFacts
from services.nodeagent.link import Api
from services.nodeagent.pods.resources import pod_resources
from services.nodeagent.pods.security import fs_group
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.references import References, referenced
from services.nodeagent.volumes import atomic, emptydir, hostpath, payload, tokens
from services.nodeagent.volumes.payload import DEFAULT_MODE, Payload
from shared.errors import ApiError, BusError

log = logging.getLogger(__name__)

PROJECTIONS = ("configMap", "secret", "downwardAPI", "projected")
# How long a pod waits for its objects before it says so; kubelet's manager waits likewise.
OBJECT_WAIT_S = 10.0
TOKEN_RETRY_S = 60.0


class VolumesHook:
    """Prepares all volumes of a pod."""

    def __init__(self, references: References, api: Api, node: NodeFacts) -> None:
        self._references = references
        self._api = api
        self._node = node

    async def prepare(self, setting: PodSetting) -> None:
        """Make and fill every volume. Raises ConfigurationError, ApiError, BusError or OSError naming the volume."""
        await self._wait_known(setting)
        self.locate(setting)
        for volume in setting.pod["spec"].get("volumes") or ():
            try:
                await self._prepare(setting, volume)
            except ConfigurationError as exc:
                raise ConfigurationError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {exc}') from exc

    async def refresh(self, setting: PodSetting) -> None:
        """Rewrite what changed in the volumes of API objects; what cannot be read keeps its last content."""
        await self._wait_known(setting)
        setting.renew_at = 0.0
        for volume in setting.pod["spec"].get("volumes") or ():
            if _kind(volume) not in PROJECTIONS:
                continue
            try:
                await self._prepare(setting, volume)
            except (ConfigurationError, ApiError, BusError) as exc:
                log.warning("volume %s of pod %s stays as it was: %s", volume["name"], setting.layout.name, exc)
                self._renew(setting, time.time() + TOKEN_RETRY_S)

    async def _wait_known(self, setting: PodSetting) -> None:
        keys = referenced(setting.pod)
        self._references.want(setting.record.uid, keys)
        try:
            async with asyncio.timeout(OBJECT_WAIT_S):
                await self._references.wait_known(keys)
        except TimeoutError:
            log.info("pod %s: some ConfigMaps or Secrets are not known yet", setting.layout.name)

    def locate(self, setting: PodSetting) -> None:
        """Say where every volume is or will be, without making anything."""
        for volume in setting.pod["spec"].get("volumes") or ():
            kind, name = _kind(volume), volume["name"]
            if kind in PROJECTIONS:
                setting.volumes[name] = setting.layout.projection(kind, name)
                setting.read_only_volumes.add(name)
            elif kind == "hostPath":
                setting.volumes[name] = Path(volume["hostPath"]["path"])
            else:
                setting.volumes[name] = setting.layout.volume(kind, name)

    async def cleanup(self, setting: PodSetting) -> None:
        self._references.want(setting.record.uid, set())
        await asyncio.to_thread(emptydir.cleanup, setting.layout.root)

    async def _prepare(self, setting: PodSetting, volume: Mapping[str, Any]) -> None:
        kind, name = _kind(volume), volume["name"]
        group = fs_group(setting.pod)
        if kind == "hostPath":
            setting.volumes[name] = hostpath.prepare(volume["hostPath"])
        elif kind == "emptyDir":
            limit = pod_resources(setting.pod).memory_bytes or 0
            emptydir.prepare(setting.layout.volume(kind, name), volume["emptyDir"] or {}, group, limit)
        elif kind in PROJECTIONS:
            files = payload.for_group(await self._files(setting, kind, volume[kind] or {}, name), group)
            atomic.write(setting.layout.projection(kind, name), files, group)
        else:
            raise ConfigurationError(f"volumes of type {kind or 'unknown'} are not supported by this node")

    async def _files(self, setting: PodSetting, kind: str, source: Mapping[str, Any], volume: str) -> Payload:
        mode = source.get("defaultMode")
        mode = DEFAULT_MODE if mode is None else int(mode)
        if kind != "projected":
            return await self._source_files(setting, kind, source, mode, volume)
        files: Payload = {}
        for entry in source.get("sources") or ():
            for part in (*PROJECTIONS, "serviceAccountToken", "clusterTrustBundle", "podCertificate"):
                if entry.get(part) is not None:
                    files.update(await self._source_files(setting, part, entry[part], mode, volume))
        return files

    async def _source_files(
        self, setting: PodSetting, kind: str, source: Mapping[str, Any], mode: int, volume: str
    ) -> Payload:
        pod = setting.pod
        namespace = pod["metadata"]["namespace"]
        if kind == "configMap":
            return payload.object_files("configmaps", source, namespace, self._references, mode)
        if kind == "secret":
            return payload.object_files("secrets", source, namespace, self._references, mode)
        if kind == "downwardAPI":
            return payload.downward_files(source, pod, self._node, setting.record.addresses, mode)
        if kind == "serviceAccountToken":
            token = await self._token(setting, source, volume)
            return payload.token_file(pod, source["path"], token, mode)
        raise ConfigurationError(f"projected source {kind} is not supported by this node")

    async def _token(self, setting: PodSetting, source: Mapping[str, Any], volume: str) -> str:
        present = setting.layout.projection("projected", volume) / source["path"]
        token = tokens.existing(present.read_text()) if present.exists() else None
        if token is None:
            token = await tokens.request(self._api, setting.pod, source)
        self._renew(setting, token.renew_at)
        return token.text

    @staticmethod
    def _renew(setting: PodSetting, at: float) -> None:
        setting.renew_at = min(setting.renew_at, at) if setting.renew_at else at


def _kind(volume: Mapping[str, Any]) -> str:
    return next((key for key in volume if key != "name"), "emptyDir")
