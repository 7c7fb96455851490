"""`python -m services.nodeagent`: the agent of one node."""

import dataclasses
import sys

from services.nodeagent.app import main
from shared.errors import SettingsError
from shared.service import run
from shared.settings import Settings

if __name__ == "__main__":
    try:
        settings = Settings.from_environment()
    except SettingsError as exc:
        sys.stderr.write(f"nodeagent: {exc}\n")
        raise SystemExit(2) from exc
    # The agent has more pages than /metrics to serve on that address, so it does that itself.
    run("nodeagent", main, dataclasses.replace(settings, metrics_address=None))
