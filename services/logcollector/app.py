"""Wiring of the log collector: the node's log tree, the positions file, the outputs named in the environment."""

import os

from services.logcollector.collector import Collector
from services.logcollector.inotify import Inotify
from services.logcollector.outputs.port import Output
from services.logcollector.outputs.stdout import StdoutOutput
from services.logcollector.outputs.stream import StreamOutput
from services.logcollector.positions import Positions
from services.logcollector.tree import Tree
from shared.bus.connection import connect
from shared.bus.port import Bus
from shared.errors import SettingsError
from shared.service import Service

OUTPUTS = ("stream", "stdout")


async def main(service: Service) -> None:
    """Collect until cancelled. WHERRY_NODE_NAME names the node, WHERRY_LOG_OUTPUTS the outputs (comma-separated)."""
    node = os.environ.get("WHERRY_NODE_NAME", "")
    if not node:
        raise SettingsError("WHERRY_NODE_NAME is not set")
    names = [name.strip() for name in (os.environ.get("WHERRY_LOG_OUTPUTS") or "stream").split(",")]
    if unknown := [name for name in names if name not in OUTPUTS]:
        raise SettingsError(f"WHERRY_LOG_OUTPUTS names {unknown[0]!r}, known are {', '.join(OUTPUTS)}")
    home = service.settings.data / "nodes" / node
    async with connect(service.settings, f"logcollector-{node}") as bus:
        inotify = Inotify()
        try:
            positions = Positions(home / "logcollector" / "positions.json")
            tree = Tree(home / "logs", inotify, positions.load())
            outputs = [output(name, bus, node) for name in names]

            def health(good: bool) -> None:
                service.ready = good

            service.ready = True
            await Collector(tree, inotify, positions, outputs, node, health).run()
        finally:
            inotify.close()


def output(name: str, bus: Bus, node: str) -> Output:
    """An output by the name users give it."""
    return StreamOutput(bus, node) if name == "stream" else StdoutOutput()
