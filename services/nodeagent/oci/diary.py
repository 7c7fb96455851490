"""What the runtime has to say: errors to stderr and, for callers that read it, to the file of `--log`."""

from __future__ import annotations

import sys
import time

from shared import quickjson


class Diary:
    """`form` is text or json, one object a line, as the callers of runc read it."""

    def __init__(self, path: str = "", form: str = "text") -> None:
        self._path = path
        self._form = form

    def warn(self, text: str) -> None:
        self._write("warning", text)

    def fail(self, text: str) -> None:
        """An error that ends the command."""
        self._write("error", text)
        if self._path:
            print(text, file=sys.stderr)

    def _write(self, level: str, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            line = quickjson.dumps({"level": level, "msg": text, "time": now})
        else:
            line = f'time="{now}" level={level} msg={quickjson.dumps(text)}'
        if not self._path:
            print(line, file=sys.stderr)
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
