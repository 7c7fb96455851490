"""Command lines in which an optional word may stand behind options, which argparse by itself does not take."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class Intermixed(argparse.ArgumentParser):
    """A parser for `NAME -n NAMESPACE [FILE]`."""

    _inside = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False
