"""Eviction of real containers: the node's levels are told by the test, everything else is the kernel's."""

import time

import pytest

from services.nodeagent.eviction.evictor import Evictor
from services.nodeagent.eviction.signals import DISK, MEMORY, Level, observe
from services.nodeagent.eviction.thresholds import EvictionSettings
from services.nodeagent.eviction.usage import is_critical, tree_size
from tests.fakes.nodes import eventually
from tests.fakes.podlife import container, pod
from tests.slowness import LIMIT_S

pytestmark = pytest.mark.root

MI = 1 << 20


class Images:
    def __init__(self, on_free=lambda: None):
        self.freed = 0
        self._on_free = on_free

    async def free(self):
        self.freed += 1
        self._on_free()
        return 1


def named(name, script, uid, priority=0, **fields):
    obj = pod(container("web", command=["sh", "-c", script], **fields), priority=priority)
    obj["metadata"] |= {"name": name, "uid": uid}
    return obj


def evictor(node, levels, images=None, **env):
    settings = EvictionSettings.from_environment({"WHERRY_EVICTION_INTERVAL": "100ms", **env})
    made = Evictor(settings, node.manager, node.runtime, images or Images(), node.events, lambda: levels, time.time)
    node.start(made.run())
    return made


async def running(node, *names):
    for name in names:
        await node.wait_phase("Running", name)


async def test_the_pod_that_exceeds_its_request_most_goes_and_the_node_recovers(node):
    hungry = "x=$(dd if=/dev/zero bs=1M count=20 2>/dev/null | cat -v); sleep 1000"
    node.create(named("calm", "sleep 1000", "u1", resources={"requests": {"memory": "32Mi"}}))
    node.create(named("hungry", hungry, "u2", resources={"requests": {"memory": "1Mi"}}))
    await running(node, "calm", "hungry")
    levels = {MEMORY: Level(50 * MI, 1000 * MI)}

    async def memory():
        stats = await node.runtime.stats_all()
        record = node.manager.find("default", "hungry").record
        return stats[record.container("web").container_id].working_set_bytes

    deadline = time.monotonic() + LIMIT_S
    while await memory() < 8 * MI:
        assert time.monotonic() < deadline
    found = evictor(node, levels)
    found.on_change = lambda: None
    status = await node.wait_phase("Failed", "hungry")
    levels[MEMORY] = Level(500 * MI, 1000 * MI)
    assert status["reason"] == "Evicted"
    assert status["message"].startswith(
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container web was using "
    )
    assert "request is 1Mi, has larger consumption of memory" in status["message"]
    target = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    assert node.status("calm")["phase"] == "Running"
    assert found.pressures == {"MemoryPressure"}
    assert "EvictionThresholdMet" in node.recorder.reasons()


async def test_system_pods_stay(node):
    node.create(named("system", "sleep 1000", "u1", priority=2_000_000_000))
    node.create(named("other", "sleep 1000", "u3", priority=1_000_000))
    await running(node, "system", "other")
    evictor(node, {MEMORY: Level(0, 1000 * MI)})
    await node.wait_phase("Failed", "other")
    assert node.status("system")["phase"] == "Running"


def test_static_pods_are_critical():
    obj = named("static", "true", "u2")
    assert not is_critical(obj)
    obj["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    assert is_critical(obj)


async def test_unused_images_are_removed_before_any_pod(node):
    node.create(named("p", "sleep 1000", "u1"))
    await running(node, "p")
    levels = {DISK: Level(1, 100)}
    images = Images(lambda: levels.update({DISK: Level(90, 100)}))
    found = evictor(node, levels, images)
    await eventually(lambda: images.freed, "the images to be removed")
    await eventually(lambda: not found._watch.since, "the node to recover")
    assert node.status("p")["phase"] == "Running"
    assert images.freed == 1


async def test_a_soft_threshold_lets_the_pod_end_by_itself(node):
    script = "trap 'echo ended > /dev/termination-log; exit 0' TERM; while true; do sleep 0.05; done"
    node.create(named("p", script, "u1"))
    await running(node, "p")
    evictor(
        node,
        {MEMORY: Level(150 * MI, 1000 * MI)},
        WHERRY_EVICTION_SOFT="memory.available<200Mi",
        WHERRY_EVICTION_SOFT_GRACE_PERIOD="memory.available=200ms",
        WHERRY_EVICTION_MAX_POD_GRACE_PERIOD="10s",
    )
    status = await node.wait_phase("Failed", "p")
    assert status["reason"] == "Evicted"
    assert status["containerStatuses"][0]["state"]["terminated"]["message"] == "ended\n"


@pytest.mark.parametrize(
    ("script", "fields", "volume", "text"),
    [
        (
            "dd if=/dev/zero of=/v/f bs=1M count=3; sleep 1000",
            {},
            {"emptyDir": {"sizeLimit": "1Mi"}},
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        ),
        (
            "dd if=/dev/zero of=/tmp/f bs=1M count=3; sleep 1000",
            {"resources": {"limits": {"ephemeral-storage": "1Mi"}}},
            {"emptyDir": {}},
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
    ],
)
async def test_a_pod_that_writes_more_than_it_may_is_evicted(node, script, fields, volume, text):
    obj = named("p", script, "u1", volumeMounts=[{"name": "v", "mountPath": "/v"}], **fields)
    obj["spec"]["volumes"] = [{"name": "v", **volume}]
    node.create(obj)
    await running(node, "p")
    evictor(node, {})
    status = await node.wait_phase("Failed", "p")
    assert (status["reason"], status["message"]) == ("Evicted", text)
    assert not any(c["type"] == "DisruptionTarget" for c in status["conditions"])


async def test_under_pressure_a_best_effort_pod_is_not_taken_in(node):
    found = evictor(node, {MEMORY: Level(0, 1000 * MI)})
    await eventually(lambda: found.pressures, "pressure")
    node.admission = found.admit
    node.create(named("late", "sleep 1000", "u9"))
    status = await node.wait_phase("Failed", "late")
    assert (status["reason"], status["message"]) == (
        "Evicted",
        "Pod was rejected: The node had condition: [MemoryPressure]. ",
    )


def test_the_levels_of_this_machine_are_plausible(tmp_path):
    levels = observe(tmp_path, tmp_path)
    assert all(0 < level.available <= level.capacity for level in levels.values())
    assert {"memory.available", "nodefs.available", "imagefs.available", "pid.available"} <= levels.keys()


def test_a_tree_is_measured_on_disk_without_counting_links_twice(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "sparse").touch()
    with (tmp_path / "sparse").open("r+b") as file:
        file.truncate(1 << 30)
    size, inodes = tree_size(tmp_path)
    assert 100_000 <= size < 1 << 20
    assert inodes == 2
    assert tree_size(tmp_path / "missing") == (0, 0)
