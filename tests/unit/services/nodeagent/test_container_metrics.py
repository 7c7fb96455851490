"""Container metrics in cAdvisor's words."""

from services.nodeagent import cadvisor
from services.nodeagent.runtime.model import ContainerStats, InterfaceStats
from tests.fakes.nodes import fake_node
from tests.fakes.podlife import container, pod


class Stats:
    def __init__(self, runtime):
        self.runtime = runtime

    async def stats_all(self):
        return {c.id: ContainerStats(cpu_ns=1_500_000_000, working_set_bytes=4096) for c in self.running()}

    async def sandbox_stats(self, sandbox_id):
        return ContainerStats(cpu_ns=2_000_000_000), [InterfaceStats("eth0", receive_bytes=7)]

    def running(self):
        return [c for c in self.runtime.containers.values() if c.state == "running"]


async def test_every_container_and_every_pod_is_shown(tmp_path):
    async with fake_node(tmp_path) as node:
        node.create(pod(container("web")))
        await node.wait_phase("Running")
        samples = await cadvisor.collect(node.manager, Stats(node.runtime))
    text = cadvisor.render(samples, 2, 1 << 30).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    cpu = next(line for line in lines if line.startswith("container_cpu_usage_seconds_total") and '="web"' in line)
    assert 'image="web:1"' in cpu
    assert 'namespace="default",pod="p"' in cpu
    assert cpu.endswith(" 1.5")
    network = next(line for line in lines if line.startswith("container_network_receive_bytes_total"))
    assert 'interface="eth0"' in network
    assert network.endswith(" 7")
    assert "machine_cpu_cores 2" in lines
    assert f"machine_memory_bytes {1 << 30}" in lines


def test_label_values_are_escaped():
    sample = cadvisor.Sample({"pod": 'a"b\\c\n'}, ContainerStats())
    assert '{pod="a\\"b\\\\c\\n"}' in cadvisor.render([sample], 1, 1).decode()
