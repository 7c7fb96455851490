"""The volumes of a pod: each kind made, filled, kept up to date and taken away.

Volumes of API objects lie on a tmpfs of the pod's own, so that no secret reaches a disk; they are rewritten when an
object changes and when a token is due.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError, NodeFacts
from services.nodeagent.link import Api
from services.nodeagent.pods.resources import pod_resources
from services.nodeagent.pods.security import fs_group
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.pullsecrets import pull_secrets
from services.nodeagent.references import References, referenced
from services.nodeagent.volumes import (
    atomic,
    claims,
    emptydir,
    hostpath,
    imagevolume,
    mounting,
    ownership,
    payload,
    private,
    tokens,
)
from services.nodeagent.volumes.payload import DEFAULT_MODE, Payload
from shared.errors import ApiError, BusError

log = logging.getLogger(__name__)

PROJECTIONS = ("configMap", "secret", "downwardAPI", "projected")
CLAIMED = ("persistentVolumeClaim", "ephemeral")
MOUNTED = ("image", "nfs")
# How long a pod waits for its objects before it says so; kubelet's manager waits likewise.
OBJECT_WAIT_S = 10.0
TOKEN_RETRY_S = 60.0


class VolumesHook:
    """Prepares all volumes of a pod."""

    def __init__(
        self,
        references: References,
        api: Api,
        node: NodeFacts,
        images: imagevolume.Images,
        private: Callable[[Path], None] = private.ensure,
    ) -> None:
        self._references = references
        self._api = api
        self._node = node
        self._images = images
        self._private = private

    async def prepare(self, setting: PodSetting) -> None:
        """Make and fill every volume. Raises ConfigurationError, ApiError, BusError or OSError naming the volume."""
        await self._wait_known(setting)
        self.locate(setting)
        if any(_kind(volume) in PROJECTIONS for volume in setting.pod["spec"].get("volumes") or ()):
            self._private(setting.layout.volatile)
        for volume in setting.pod["spec"].get("volumes") or ():
            try:
                await self._prepare(setting, volume)
            except imagevolume.ImageUnavailable:
                raise
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
        known = claims.remembered(setting.layout)
        for volume in setting.pod["spec"].get("volumes") or ():
            kind, name = _kind(volume), volume["name"]
            if _is_read_only(volume):
                setting.read_only_volumes.add(name)
            if kind in PROJECTIONS:
                setting.volumes[name] = setting.layout.projection(kind, name)
            elif kind == "hostPath":
                setting.volumes[name] = Path(volume["hostPath"]["path"])
            elif kind in CLAIMED:
                if name in known:
                    setting.volumes[name] = mounting.place(setting.layout, name, known[name])
            elif kind in MOUNTED:
                setting.volumes[name] = setting.layout.mount(name)
                if kind == "image" and (image := self._images.find(volume["image"].get("reference") or "")) is not None:
                    # after a restart the store does not know any more who needs what
                    self._images.hold(image.id, imagevolume.holder(setting.record.uid))
                    if len(image.layers) > 1:
                        setting.layers[name] = [str(layer) for layer in reversed(image.layers)]
            else:
                setting.volumes[name] = setting.layout.volume(kind, name)

    async def cleanup(self, setting: PodSetting) -> None:
        self._references.want(setting.record.uid, set())
        self._images.release(imagevolume.holder(setting.record.uid))
        await asyncio.to_thread(private.remove, setting.layout.volatile)
        await asyncio.to_thread(mounting.cleanup, setting.layout)

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
        elif kind == "image":
            secrets = pull_secrets(self._references, setting.pod)
            await imagevolume.prepare(self._images, setting.layout, name, volume["image"], secrets)
            self.locate(setting)  # what it is made of is known now
        elif kind in CLAIMED:
            source = await claims.resolve(self._api, setting.pod, name, setting.layout)
            await self._persistent(setting, name, source)
        else:
            await self._persistent(setting, name, claims.Source(kind, dict(volume.get(kind) or {})))

    async def _persistent(self, setting: PodSetting, name: str, source: claims.Source) -> None:
        path = setting.volumes[name] = await mounting.prepare(setting.layout, name, source)
        group = fs_group(setting.pod)
        if group is not None and source.kind == "local":
            policy = setting.pod["spec"]["securityContext"].get("fsGroupChangePolicy") or "Always"
            read_only = name in setting.read_only_volumes
            await asyncio.to_thread(partial(ownership.apply, path, group, policy, read_only=read_only))

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


def _is_read_only(volume: Mapping[str, Any]) -> bool:
    """Whether no container may write to a volume, whatever its mounts say."""
    kind = _kind(volume)
    if kind in PROJECTIONS or kind == "image":
        return True
    return kind in ("persistentVolumeClaim", "nfs") and bool(volume[kind].get("readOnly"))


def _kind(volume: Mapping[str, Any]) -> str:
    return next((key for key in volume if key != "name"), "emptyDir")
