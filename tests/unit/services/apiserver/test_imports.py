"""What the API server holds in memory from its start on."""

from __future__ import annotations

import subprocess
import sys

RARELY_NEEDED = ("aiohttp", "numpy", "yaml")


def test_what_is_rarely_needed_is_not_loaded_at_the_start() -> None:
    script = f"import sys, services.apiserver.app; print([name for name in {RARELY_NEEDED} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
