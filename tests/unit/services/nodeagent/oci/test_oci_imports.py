"""A command of `wherry-runtime` is a process of its own: what it imports is a good part of what it costs."""

from __future__ import annotations

import subprocess
import sys

COSTLY = {"argparse", "asyncio", "dataclasses", "enum", "inspect", "json", "logging", "re", "selectors", "signal"}
COSTLY |= {"socket", "subprocess", "typing"}
PROGRAM = """
import sys
from services.nodeagent.oci import __main__, creation, lifecycle, main
print(*sys.modules)
"""


def test_running_a_container_imports_nothing_costly() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert sorted(COSTLY.intersection(done.stdout.split())) == []
