"""The durable part of what is known of a pod, and how it is brought in line after a restart."""

import json

from services.nodeagent.layout import NodeLayout, container_id, sandbox_id
from services.nodeagent.pods import adoption
from services.nodeagent.pods.backoff import Backoff
from services.nodeagent.pods.checkpoint import Checkpoints
from services.nodeagent.pods.records import Phase, PodRecord
from services.nodeagent.runtime.model import ContainerState, SandboxState
from tests.fakes.podlife import START, PodLife, container, pod


def lived():
    life = PodLife(pod(container("web")))
    life.settle()
    life.exit("web", 1)
    life.exit("web", 2, message="why")
    return life


def sandbox(attempt=0, state="ready"):
    return SandboxState(sandbox_id("u1", attempt), state, labels={"container.attempt": str(attempt)})


def held(name="web", attempt=0, state="running", **fields):
    labels = {"container.name": name, "container.attempt": str(attempt), "pod.uid": "u1"}
    return ContainerState(container_id("u1", name, attempt), "s", name, state, labels=labels, **fields)


def test_a_record_survives_json():
    record = lived().record
    again = PodRecord.from_document(json.loads(json.dumps(record.document())))
    assert again.document() == record.document()
    assert again.container("web").backoff == Backoff(10, START)
    assert again.container("web").termination.message == "why"
    assert again.container("web").last.exit_code == 1


def test_a_document_of_another_version_is_read_as_far_as_it_is_known():
    record = PodRecord.from_document({"uid": "u1", "future": 1, "containers": {"web": {"name": "web", "new": 2}}})
    assert record.container("web").attempt == -1


def test_checkpoints_are_loaded_again(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    life = lived()
    life.pod["metadata"]["managedFields"] = [{"manager": "x"}]
    checkpoints.save_pod(life.pod, durable=True)
    checkpoints.save_record(life.record)
    [found] = checkpoints.load()
    assert found.pod["spec"] == life.pod["spec"]
    assert "managedFields" not in found.pod["metadata"]
    assert found.record.container("web").attempt == 1
    checkpoints.forget("u1")
    assert checkpoints.load() == []


def test_a_damaged_record_does_not_lose_the_pod(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_pod(lived().pod)
    (tmp_path / "u1/record.json").write_text('{"containers": {"web": 3')
    [found] = checkpoints.load()
    assert found.record.containers == {}


def test_a_damaged_manifest_leaves_the_pod_to_the_api(tmp_path):
    (tmp_path / "u1").mkdir()
    (tmp_path / "u1/manifest.json").write_text("{")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load() == []
    assert list(checkpoints.uids()) == ["u1"]


def test_what_runs_is_adopted():
    life = PodLife(pod(container("web")))
    life.settle()
    record = PodRecord.from_document(life.record.document())
    running = held(started_at=START, pid=77)
    assert adoption.adopt(record, life.pod, [sandbox()], [running], START + 5) == []
    assert record.sandbox_ready
    assert record.volumes_ready
    assert record.container("web").phase is Phase.RUNNING
    assert record.container("web").pid == 77
    assert adoption.strays(record, [running]) == []


def test_a_later_attempt_than_the_record_knows_is_believed():
    life = PodLife(pod(container("web")))
    life.settle()
    record = PodRecord.from_document(life.record.document())
    newer = held(attempt=1, started_at=START)
    adoption.adopt(record, life.pod, [sandbox()], [held(state="exited"), newer], START)
    assert record.container("web").attempt == 1
    assert record.container("web").running
    assert adoption.strays(record, [held(state="exited"), newer]) == [container_id("u1", "web", 0)]


def test_everything_is_learnt_from_the_keeper_when_the_record_is_lost():
    record = PodRecord("u1", addresses=("10.244.0.5",))
    adoption.adopt(record, pod(container("web")), [sandbox(3)], [held(attempt=7)], START)
    assert record.sandbox_attempt == 3
    assert record.container("web").attempt == 7
    assert record.container("web").running


def test_a_sandbox_that_is_gone_is_not_trusted():
    life = PodLife(pod(container("web")))
    life.settle()
    record = PodRecord.from_document(life.record.document())
    adoption.adopt(record, life.pod, [sandbox(state="gone")], [], START)
    assert not record.sandbox_ready
    assert record.container("web").termination.reason == "ContainerStatusUnknown"


def test_ids_depend_on_uid_name_and_attempt_only():
    assert container_id("u", "a", 0) == container_id("u", "a", 0)
    assert (
        len({container_id("u", "a", 0), container_id("u", "a", 1), container_id("v", "a", 0), sandbox_id("u", 0)}) == 4
    )


def test_places_of_a_pod_follow_the_cluster_s_layout(tmp_path):
    layout = NodeLayout(tmp_path / "d", tmp_path / "r", "wherry", "n1")
    one = layout.pod("ns", "p", "u1")
    assert one.log("c", 2) == tmp_path / "d/nodes/n1/logs/ns_p_u1/c/2.log"
    assert layout.netns_name("0123456789abcdef") == "wherry-n1-0123456789ab"
    assert layout.keeper_socket == tmp_path / "r/nodes/n1/keeper.sock"
    assert str(one.projection("secret", "s")).startswith(str(tmp_path / "r"))
