"""The collector rests when there is nothing to do."""

from __future__ import annotations

import shutil
from pathlib import Path

from services.logcollector.collector import Collector
from services.logcollector.inotify import Inotify
from services.logcollector.positions import Positions
from services.logcollector.tree import Tree


async def test_a_pod_that_went_before_it_was_labelled_is_waited_for_no_longer(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "default_web_u1/app").mkdir(parents=True)
    (logs / "default_web_u1/app/0.log").write_text("")
    inotify, positions = Inotify(), Positions(tmp_path / "positions.json")
    tree = Tree(logs, inotify, {})
    collector = Collector(tree, inotify, positions, [], "node-1")
    try:
        tree.scan()
        await collector.drain()
        assert collector.next_due() is not None
        shutil.rmtree(logs / "default_web_u1")
        tree.scan()
        for container in [c for pod in tree.pods.values() for c in pod.containers.values()]:
            for tail in container.ordered():
                tree.drop(container, tail)
        await collector.drain()
        assert collector.next_due() is None
    finally:
        tree.close()
        inotify.close()
