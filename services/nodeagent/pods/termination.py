"""What a container left behind: the reason of its exit and its termination message.

Source: Kubernetes "Determine the reason for pod failure": 4096 bytes of the file, or 2048 bytes or 80 lines of the log.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.pods.records import Termination
from services.nodeagent.runtime.model import ContainerState

FILE_LIMIT = 4096
LOG_LIMIT = 2048
LOG_LINES = 80
# What Kubernetes reports for a container whose program never ran, whatever the shells' 126 and 127 would say.
START_ERROR_CODE = 128
# The fields of a CRI log line before its text: time, stream, tag.
_LOG_FIELDS = 3


def termination(state: ContainerState, spec: Mapping[str, Any], message_file: Path, log: Path) -> Termination:
    """How a container ended, from the keeper's report and the files it left."""
    why = reason(state)
    return Termination(
        container_id=state.id,
        exit_code=START_ERROR_CODE if why == "StartError" else state.exit_code,
        reason=why,
        started_at=state.started_at or state.created_at,
        finished_at=state.finished_at,
        signal=0,
        message=message(state, spec, message_file, log),
    )


def reason(state: ContainerState) -> str:
    if state.oom_killed:
        return "OOMKilled"
    if not state.started_at:
        return "StartError"
    return "Completed" if state.exit_code == 0 else "Error"


def message(state: ContainerState, spec: Mapping[str, Any], message_file: Path, log: Path) -> str:
    text = _head(message_file)
    if text:
        return text
    if spec.get("terminationMessagePolicy") == "FallbackToLogsOnError" and state.exit_code != 0:
        text = log_tail(log)
    return text or state.message


def _head(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        return file.read(FILE_LIMIT).decode(errors="replace")


def log_tail(path: Path) -> str:
    """The last lines of a CRI log as text, at most LOG_LIMIT bytes and LOG_LINES lines."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_LIMIT * 2 - LOG_LINES * 64))
            lines = file.read().splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    texts = []
    for line in lines:
        fields = line.split(b" ", _LOG_FIELDS)
        if len(fields) > _LOG_FIELDS:
            texts.append(fields[_LOG_FIELDS] + (b"" if fields[2] == b"P" else b"\n"))
    return b"".join(texts)[-LOG_LIMIT:].decode(errors="replace")
