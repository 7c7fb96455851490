"""What the keeper must still know after it was killed: small JSON files below RUN (a tmpfs, so a reboot forgets them).

Each sandbox and container has a directory with `record.jsonl`; every line holds the keys that have changed, so that a
change is one short append, which a killed process has either made or not. Whatever else belongs to the item (namespaces
mounted there, FIFOs) lies beside that file. Environment variables hold secrets: only root may look.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any

from shared.kernel import placement

COMPACT_BYTES = 1 << 20

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check_id(value: str, what: str) -> str:
    """The id itself. ValueError if it could not be a file name."""
    if not _ID.fullmatch(value):
        raise ValueError(f"{what} id {value!r} is not of the form {_ID.pattern}")
    return value


class Store:
    """Records of one kind (`sandboxes`, `containers`) in `directory`/<kind>/<id>/."""

    def __init__(self, directory: str, kind: str) -> None:
        self._directory = f"{directory}/{kind}"
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        placement.spread(self._directory)  # not every host has a tmpfs at /run

    def path(self, item_id: str, name: str = "") -> str:
        return f"{self._directory}/{item_id}/{name}" if name else f"{self._directory}/{item_id}"

    def save(self, item_id: str, changes: dict[str, Any]) -> None:
        """Add `changes` to the record."""
        directory = self.path(item_id)
        data = json.dumps(changes, separators=(",", ":")).encode("utf-8", "surrogateescape") + b"\n"
        name = f"{directory}/record.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600)
        except FileNotFoundError:
            os.mkdir(directory, 0o700)
            fd = os.open(name, flags, 0o600)
        try:
            os.write(fd, data)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > COMPACT_BYTES:
            self._compact(item_id)

    def _compact(self, item_id: str) -> None:
        name = self.path(item_id, "record.jsonl")
        record = _read(name)
        with open(f"{name}.new", "w", encoding="utf-8") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
        os.rename(f"{name}.new", name)

    def load(self) -> dict[str, dict[str, Any] | None]:
        """All records by id; None where a directory has no readable record (the keeper died while making it)."""
        return {name: _read(self.path(name, "record.jsonl")) for name in sorted(os.listdir(self._directory))}

    def remove(self, item_id: str) -> None:
        """Remove the record and every plain file beside it."""
        directory = self.path(item_id)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(directory):
                os.unlink(f"{directory}/{name}")
            os.rmdir(directory)


def _read(path: str) -> dict[str, Any] | None:
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                record |= json.loads(line.decode("utf-8", "surrogateescape"))
    return record or None
