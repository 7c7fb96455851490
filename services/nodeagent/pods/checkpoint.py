"""The node's own last-known state: every pod's manifest and record, one directory for each pod.

With it an agent starts, adopts and restarts containers while the control plane is away. The manifest is synced to disk
once, before anything of the pod exists; the record changes often and is only replaced atomically: after a power failure
nothing runs any more, and a record that is a little old is put right by what the keeper (does not) report.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.nodeagent import stored, trees
from services.nodeagent.pods.records import PodRecord
from shared.kernel import mounts

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A pod as it was known last."""

    pod: dict[str, Any]
    record: PodRecord


class Checkpoints:
    """Checkpoints below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save_pod(self, pod: Mapping[str, Any], *, durable: bool = False) -> None:
        """Keep the object, without the bookkeeping of its fields."""
        metadata = {key: value for key, value in pod["metadata"].items() if key != "managedFields"}
        stored.write(self._path(metadata["uid"]) / _MANIFEST, {**pod, "metadata": metadata}, durable=durable)

    def save_record(self, record: PodRecord) -> None:
        stored.write(self._path(record.uid) / _RECORD, record.document())

    def load(self) -> list[Checkpoint]:
        """Every pod that can be read. A pod without a readable manifest is left to the API."""
        found = []
        for uid in self.uids():
            pod = stored.read(self._path(uid) / _MANIFEST)
            if not isinstance(pod, dict) or (pod.get("metadata") or {}).get("uid") != uid:
                continue
            found.append(Checkpoint(pod, self._record(uid)))
        return found

    def uids(self) -> Iterator[str]:
        """Pods that have a directory, readable or not."""
        if self._directory.is_dir():
            for path in sorted(self._directory.iterdir()):
                if path.is_dir() and not path.name.startswith("."):
                    yield path.name

    def forget(self, uid: str) -> None:
        """Remove the pod's directory; what is mounted below it is unmounted first, so that no data goes with it."""
        mounts.unmount_below(self._path(uid))
        trees.remove(self._path(uid))

    def _record(self, uid: str) -> PodRecord:
        document = stored.read(self._path(uid) / _RECORD)
        if document is None:
            return PodRecord(uid)
        try:
            return PodRecord.from_document(document)
        except (TypeError, ValueError, KeyError) as exc:
            log.warning("record of pod %s is not readable and starts anew: %s", uid, exc)
            return PodRecord(uid)

    def _path(self, uid: str) -> Path:
        return self._directory / uid
