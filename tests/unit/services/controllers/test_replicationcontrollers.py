"""ReplicationControllers, the elder of ReplicaSets: charts and tutorials still have them."""

from __future__ import annotations

from tests.unit.services.controllers.cluster import controllers, settled
from tests.unit.services.controllers.objects import pod, pod_template, workload
from tests.unit.services.controllers.world import World


async def test_a_replication_controller_keeps_its_pods_and_adopts_strays() -> None:
    world = World()
    world.put(pod("stray", labels={"app": "web"}))
    controller = workload(
        "v1", "ReplicationController", "old", {"replicas": 3, "selector": {"app": "web"}, "template": pod_template()}
    )
    world.put(controller)
    async with controllers(world):
        await settled(world)
        made = world.every("", "pods")
        assert len(made) == 3
        owners = {one["metadata"]["ownerReferences"][0]["kind"] for one in made}
        assert owners == {"ReplicationController"}
        for one in made:
            world.run(one)
        await settled(world)
        stored = world.get("", "replicationcontrollers", "shop", "old")
        assert stored is not None
        status = stored["status"]
        assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 3, 3)
        assert "terminatingReplicas" not in status
        world.edit(stored, lambda new: new["spec"].update(replicas=1))
        await settled(world)
        world.confirm()
        await settled(world)
        assert len(world.every("", "pods")) == 1
