"""What an API server does not load before somebody needs it: a third of its memory was such libraries."""

import subprocess
import sys


def test_a_server_starts_without_an_http_client_and_without_yaml() -> None:
    rare = {"aiohttp", "numpy", "yaml", "zoneinfo"}
    program = f"import sys, services.apiserver.app; print(*sorted({rare} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)

    assert found.stdout.split() == []
