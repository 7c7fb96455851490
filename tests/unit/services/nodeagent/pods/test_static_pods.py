"""Static pods: what a file becomes, and how files, pods and mirrors stay in step."""

import copy
import json
from pathlib import Path

import pytest

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.pods import static
from services.nodeagent.pods.staticpods import StaticPods
from tests.fakes.nodes import FakeNode, eventually

SEEN = "2026-11-24T08:15:35Z"
NODE = {"metadata": {"name": "n1", "uid": "node-uid"}}
MIRROR = "/api/v1/namespaces/kube-system/pods/proxy-n1"


def manifest(image="proxy:1", **spec):
    body = {"containers": [{"name": "proxy", "image": image}], "terminationGracePeriodSeconds": 1, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "proxy", "namespace": "kube-system"}, "spec": body}


def read(obj, name="proxy.json"):
    return static.read(Path("/etc/pods") / name, json.dumps(obj).encode(), "n1", SEEN)


def test_a_file_becomes_a_pod_of_this_node():
    pod = read(manifest())
    metadata = pod["metadata"]
    assert metadata["name"] == "proxy-n1"
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["spec"]["restartPolicy"] == "Always"
    assert metadata["annotations"] == {static.HASH: metadata["uid"], static.SEEN: SEEN, static.SOURCE: "file"}
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert static.is_static(pod)


def test_the_uid_follows_the_content_of_the_file():
    assert read(manifest())["metadata"]["uid"] == read(manifest())["metadata"]["uid"]
    assert read(manifest())["metadata"]["uid"] != read(manifest("proxy:2"))["metadata"]["uid"]


def test_yaml_is_read_as_well():
    text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: b}]}\n"
    assert static.read(Path("/p/x.yaml"), text, "n1", SEEN)["metadata"]["namespace"] == "default"


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "holds a ConfigMap, not a v1 Pod"),
        ({**manifest(), "metadata": {}}, "metadata.name is missing"),
        (manifest(containers=[]), r"spec\.containers"),
        (manifest(containers=[{"name": "a", "image": "b", "imagePullPolicy": 3}]), "imagePullPolicy"),
        (manifest(serviceAccountName="x"), r"spec\.serviceAccountName needs the API"),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), r"spec\.volumes\[0\]\.secret needs the API"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_name(obj, text):
    with pytest.raises(ConfigurationError, match=rf"/etc/pods/proxy\.json: .*{text}"):
        read(obj)


def test_a_mirror_names_its_pod_and_its_node():
    pod = read(manifest())
    made = static.mirror(pod, NODE)
    assert static.mirror_hash(made) == pod["metadata"]["uid"]
    assert made["metadata"]["ownerReferences"][0] == {
        "apiVersion": "v1",
        "kind": "Node",
        "controller": True,
        "name": "n1",
        "uid": "node-uid",
    }
    assert "uid" not in made["metadata"]
    assert not static.is_static(made)


class StaticNode(FakeNode):
    """A node with a directory of static pods."""

    def __init__(self, directory):
        super().__init__(directory)
        self.directory = directory / "manifests"
        self._number = 0

    def write(self, obj, name="proxy.json"):
        self.directory.mkdir(exist_ok=True)
        partial = self.directory / f".{name}"
        partial.write_text(json.dumps(obj))
        partial.rename(self.directory / name)

    def follow(self):
        self.boot()
        pods = StaticPods(self.directory, "n1", self.manager, self.api, self.events, lambda: NODE)
        create = self.api.create

        async def with_uid(path, obj, query=None):
            self._number += 1
            made = copy.deepcopy(obj)
            made["metadata"]["uid"] = f"mirror-{self._number}"
            return await create(path, made, query)

        self.api.create = with_uid
        self.start(self._follow(pods))
        return pods

    async def _follow(self, pods):
        await self.manager.wait_started()
        self.start(pods.run())
        await pods.run_mirrors()

    async def mirror(self):
        return await eventually(lambda: self.api.objects.get(MIRROR), "the mirror")

    async def shown(self, phase="Running"):
        def found():
            mirror = self.api.objects.get(MIRROR) or {}
            return mirror if (mirror.get("status") or {}).get("phase") == phase else None

        return await eventually(found, f"a mirror that is {phase}")


@pytest.fixture
async def node(tmp_path):
    made = StaticNode(tmp_path)
    yield made
    await made.crash()


async def test_a_static_pod_runs_and_shows_in_the_api(node):
    node.write(manifest())
    node.follow()
    await node.wait_running("proxy")
    mirror = await node.shown()
    assert mirror["metadata"]["annotations"][static.SOURCE] == "file"
    assert node.manager.find("kube-system", "proxy-n1", mirror["metadata"]["uid"]) is not None


async def test_a_static_pod_runs_without_the_api(node):
    node.api.up.clear()
    node.services = None
    node.write(manifest())
    node.follow()
    await node.wait_running("proxy")
    node.api.up.set()
    await node.shown()


async def test_an_edited_file_is_another_pod_that_waits_for_the_first_to_end(node):
    node.write(manifest())
    node.follow()
    await node.wait_running("proxy")
    first = static.mirror_hash(await node.shown())
    node.write(manifest("proxy:2"))

    def another():
        mirror = node.api.objects.get(MIRROR)
        return mirror is not None and static.mirror_hash(mirror) != first

    await eventually(another, "a new mirror")
    running = await node.wait_running("proxy")
    assert node.runtime.specs[running.id].labels["container.image"] == "proxy:2"
    assert len(node.manager.workers) == 1


async def test_a_removed_file_ends_the_pod_and_its_mirror(node):
    node.write(manifest())
    node.follow()
    await node.shown()
    (node.directory / "proxy.json").unlink()
    await eventually(lambda: not node.manager.workers, "the end of the pod")
    await eventually(lambda: MIRROR not in node.api.objects, "the end of the mirror")


async def test_a_deleted_mirror_comes_back_and_the_pod_stays(node):
    node.write(manifest())
    node.follow()
    before = await node.wait_running("proxy")
    old = copy.deepcopy(await node.shown())
    old["metadata"]["deletionTimestamp"] = SEEN
    node.api.put(MIRROR, old)
    await eventually(
        lambda: (node.api.objects.get(MIRROR) or old)["metadata"]["uid"] != old["metadata"]["uid"], "another mirror"
    )
    await node.shown()
    assert (await node.wait_running("proxy")).id == before.id


async def test_a_bad_file_is_named_and_does_not_hold_up_the_others(node):
    node.write({"kind": "Pod"}, "bad.json")
    node.write(manifest())
    node.follow()
    await node.wait_running("proxy")
    await eventually(
        lambda: any("bad.json" in text for _, text in node.recorder.events), "an event that names the file"
    )


async def test_a_restarted_agent_knows_its_static_pods_again(node):
    node.write(manifest())
    node.follow()
    before = await node.wait_running("proxy")
    await node.shown()
    await node.crash()
    node.follow()
    await eventually(lambda: node.manager.workers, "the worker")
    await node.shown()
    assert (await node.wait_running("proxy")).id == before.id
    assert len(node.runtime.starts) == 1


async def test_a_file_removed_while_the_agent_was_away_ends_the_pod(node):
    node.write(manifest())
    node.follow()
    await node.shown()
    await node.crash()
    (node.directory / "proxy.json").unlink()
    node.follow()
    await eventually(lambda: node.runtime.running("proxy") is None, "the end of the container")
    await eventually(lambda: MIRROR not in node.api.objects, "the end of the mirror")
