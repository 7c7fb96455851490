"""Checkpoints that have come to this node, and pods that begin with one instead of with their image.

A pod names its checkpoint by the annotation ANNOTATION. Each container is restored once; afterwards, or when that
fails, it is an ordinary container, which starts from its image. The files go when the last one has been restored.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from services.nodeagent import stored, trees
from services.nodeagent.checkpoint import archive
from services.nodeagent.pods.records import Phase, PodRecord
from services.nodeagent.pods.setting import PodSetting
from shared.errors import BadRequest, RuntimeFailure
from shared.kernel import criu

log = logging.getLogger(__name__)

ANNOTATION = "wherry.io/checkpoint"
# What nobody has named by then is thrown away: its pod was not made, or its migration is off.
UNUSED_LIMIT_S = 600.0
_OWNER_FIELDS = ("uid", "namespace", "name")
_DONE = ".done"
_ID = re.compile(r"[0-9a-f]{16,64}")


class Arrivals:
    """The checkpoints below one directory, by id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, identity: str) -> Path:
        return self._directory / identity

    def _owner(self, identity: str) -> Path:
        return self._directory / f"{identity}.owner"

    async def check(self, identity: str, owner: Mapping[str, str]) -> None:
        """Whether an archive could be received. BadRequest, RuntimeFailure."""
        if not owner or any(name not in _OWNER_FIELDS for name in owner):
            raise BadRequest(f"the owner of a checkpoint is told by {', '.join(_OWNER_FIELDS)}, not by {sorted(owner)}")
        if not _ID.fullmatch(identity):
            raise BadRequest(f"checkpoint id {identity!r} is not made of 16 to 64 hexadecimal digits")
        if reason := await asyncio.to_thread(criu.why_not):
            raise RuntimeFailure(f"this node cannot restore: {reason}")

    async def receive(
        self, identity: str, owner: Mapping[str, str], parts: AsyncIterator[bytes], digest: Mapping[str, str]
    ) -> None:
        """Store an archive, of which `check` had nothing to say, for the pod whose metadata has the values of `owner`:
        others may learn the id, but not what the processes had in memory. `digest["sha256"]` is looked at when all
        parts have come.

        BadRequest, RuntimeFailure.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._directory / f".partial-{identity}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        seen = hashlib.sha256()
        extraction = await archive.Extraction.begin(partial)
        try:
            async for data in parts:
                seen.update(data)
                await extraction.feed(data)
            if digest.get("sha256") != seen.hexdigest():
                raise BadRequest("the checkpoint did not arrive whole")
            await extraction.finish()
            await asyncio.to_thread(_check_plain, partial)
            archive.Manifest.load(partial)
            stored.write(self._owner(identity), dict(owner))
            if not self.path(identity).exists():
                partial.rename(self.path(identity))
        finally:
            await extraction.abort()
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)

    def record(self, pod: Mapping[str, Any]) -> PodRecord:
        """What this node knows of a pod that is new to it: that of its checkpoint if it has come, else nothing."""
        uid = pod["metadata"]["uid"]
        identity = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
        if not _ID.fullmatch(identity) or not self.path(identity).is_dir():
            return PodRecord(uid)
        try:
            owner = stored.read(self._owner(identity))
            if not owner or any(pod["metadata"].get(name) != value for name, value in owner.items()):
                log.warning("checkpoint %s is not that of pod %s", identity, pod["metadata"]["name"])
                return PodRecord(uid)
            manifest = archive.Manifest.load(self.path(identity))
            return resumed(PodRecord.from_document(manifest.record), manifest.containers, uid, identity)
        except (RuntimeFailure, TypeError, ValueError, KeyError) as exc:
            log.warning("checkpoint %s is not used: %s", identity, exc)
            return PodRecord(uid)

    def images(self, record: PodRecord, name: str) -> Path | None:
        """criu's images of a container that is still to be restored."""
        if name not in record.restoring or not record.restored_from:
            return None
        part = archive.part(self.path(record.restored_from), name)
        return part.images if part.images.is_dir() else None

    async def fill_volumes(self, setting: PodSetting) -> None:
        """Put back what the pod's emptyDir volumes held; each once."""
        record = setting.record
        if not record.restoring:
            return
        for name, path in setting.volumes.items():
            await _once(archive.volume(self.path(record.restored_from), name), path)

    async def lay_out(self, setting: PodSetting, name: str, shared_memory: Path) -> None:
        """Put back a container's files: the writable layer, the log so far, and the pod's /dev/shm. RuntimeFailure.

        What has been put back whole stays as it is: after a crash of the agent the container may be running on it.
        """
        record, layout = setting.record, setting.layout
        container = record.container(name)
        directory = self.path(record.restored_from)
        part = archive.part(directory, name)
        if shared_memory.is_dir():
            await _once(archive.shared_memory(directory), shared_memory)
        upper = layout.writable(container.container_id) / "upper"
        whole = upper.with_name("laid-out")
        if whole.exists():
            return
        await trees.remove_all(upper)
        await archive.unpack(part.layer, upper)
        target = layout.log(name, container.attempt)
        if part.log.exists() and not target.exists():
            await asyncio.to_thread(shutil.copyfile, part.log, target)
        whole.touch()

    def again(self, record: PodRecord) -> None:
        """Nothing was restored after all: whoever begins with the checkpoint finds it as it came."""
        for path in self.path(record.restored_from).rglob(f"*{_DONE}"):
            path.rename(path.with_suffix(".tar"))

    async def done(self, record: PodRecord, name: str) -> None:
        """A container was restored, or never will be."""
        record.restoring = [other for other in record.restoring if other != name]
        if not record.restoring and record.restored_from:
            await trees.remove_all(self.path(record.restored_from), self._owner(record.restored_from))

    async def forget_unused(self, used: set[str]) -> None:
        """Remove what no pod of this node names, and what a killed agent left half done, once it is old enough."""
        if not self._directory.is_dir():
            return
        limit = time.time() - UNUSED_LIMIT_S
        for path in self._directory.iterdir():
            if path.name.partition(".")[0] not in used and path.stat().st_mtime < limit:
                log.info("removing the unused checkpoint %s", path.name)
                await trees.remove_all(path)


class FilledVolumes:
    """The hook that puts back what volumes held, after they were made."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    async def prepare(self, setting: PodSetting) -> None:
        await self._arrivals.fill_volumes(setting)

    async def cleanup(self, setting: PodSetting) -> None:
        """Nothing: what volumes hold goes with them."""


def resumed(old: PodRecord, running: list[str], uid: str, identity: str) -> PodRecord:
    """The record with which a pod goes on elsewhere: ended containers stay ended, running ones start the same attempt
    again, so that restart counts and log names stay. Pure."""
    record = PodRecord(uid, started_at=old.started_at, restored_from=identity)
    for name, container in old.containers.items():
        record.containers[name] = container
        container.pid = 0
        container.sandbox_attempt = 0
        if name in running:
            record.restoring.append(name)
            container.attempt -= 1
            container.container_id = ""
            container.phase, container.termination = Phase.ABSENT, None
            container.suspended = False  # it is again as soon as it runs
    return record


async def send(directory: Path, write: Any) -> str:
    """Send an archive in chunks by `await write(data)`; its SHA-256 as JSON for the end mark."""
    seen = hashlib.sha256()
    async for data in archive.chunks(directory):
        seen.update(data)
        await write(data)
    return json.dumps({"sha256": seen.hexdigest()})


def _check_plain(directory: Path) -> None:
    """BadRequest for an archive with anything but files and directories: the sender must not choose what is read."""
    for place, directories, files in os.walk(directory):
        for name in (*directories, *files):
            mode = os.lstat(os.path.join(place, name)).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise BadRequest(f"the checkpoint holds {name}, which is neither a file nor a directory")


async def _once(source: Path, target: Path) -> None:
    if source.exists():
        await archive.unpack(source, target)
        source.rename(source.with_suffix(_DONE))
