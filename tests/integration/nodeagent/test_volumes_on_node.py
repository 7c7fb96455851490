"""Volumes with real mounts and real containers: persistent, image and private ones, and what is left after them."""

import base64
import os
import stat
import subprocess

import pytest

from services.nodeagent.layout import NodeLayout
from services.nodeagent.volumes import mounting, ownership
from services.nodeagent.volumes.claims import Source
from services.nodeagent.volumes.provided import ProvidedVolumes
from shared.kernel.mounts import mount_points
from shared.objects.volumebinding import LOCAL_PATH, PROVISIONED_BY
from tests.fakes.nodes import eventually
from tests.fakes.podlife import container, pod

pytestmark = pytest.mark.root


def shell(name, script, **fields):
    return container(name, command=["sh", "-c", script], **fields)


def bind(node, spec, name="data", phase="Bound", notes=None, **fields):
    """A claim `name` that is bound to a volume with this source."""
    claim = {"metadata": {"name": name, "namespace": "default", "uid": f"c-{name}", **fields}}
    claim |= {"kind": "PersistentVolumeClaim", "spec": {"volumeName": f"pv-{name}"}, "status": {"phase": phase}}
    node.api.put(f"/api/v1/namespaces/default/persistentvolumeclaims/{name}", claim)
    whole = {"accessModes": ["ReadWriteOnce"], "claimRef": {"uid": f"c-{name}"}, **spec}
    metadata = {"name": f"pv-{name}", "uid": f"v-{name}", "annotations": notes or {}}
    node.api.put(f"/api/v1/persistentvolumes/pv-{name}", {"metadata": metadata, "spec": whole})


def user(script, claim="data", mount=None, source=None, name="p", **spec):
    volume = {"name": "d", "persistentVolumeClaim": {"claimName": claim, **(source or {})}}
    mounts = [{"name": "d", "mountPath": "/d", **(mount or {})}]
    made = pod(shell("web", script, volumeMounts=mounts), restartPolicy="Never", volumes=[volume], **spec)
    made["metadata"]["name"] = name
    return made


async def ended(node, name="p"):
    status = await eventually(
        lambda: node.status(name).get("phase") in ("Succeeded", "Failed") and node.status(name), "the end of the pod"
    )
    return status["containerStatuses"][0]["state"]["terminated"]


async def told(node, text):
    return await eventually(lambda: next((m for _, m in node.recorder.events if text in m), ""), f"an event on {text}")


async def test_a_provided_directory_is_made_by_its_first_pod_and_outlives_it(node):
    path = node.layout.volumes / "pv_default_data"
    bind(node, {"local": {"path": str(path)}}, notes={PROVISIONED_BY: LOCAL_PATH})
    node.create(user("echo kept > /d/f", securityContext={"runAsUser": 1000}))
    assert (await ended(node))["exitCode"] == 0, node.log("web")
    node.delete(grace=0)
    await node.wait_gone()
    assert (path / "f").read_text() == "kept\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o777


async def test_a_provided_directory_outside_the_nodes_own_is_refused(node, tmp_path):
    bind(node, {"local": {"path": str(tmp_path / "x")}}, notes={PROVISIONED_BY: LOCAL_PATH})
    node.create(user("true"))
    await told(node, "is not inside")
    assert not (tmp_path / "x").exists()


async def test_the_directory_of_a_volume_goes_once_no_pod_uses_it(node):
    path = node.layout.volumes / "pv_default_data"
    bind(node, {"local": {"path": str(path)}}, notes={PROVISIONED_BY: LOCAL_PATH})
    volume = node.api.objects["/api/v1/persistentvolumes/pv-data"]
    volume["metadata"] |= {"finalizers": [LOCAL_PATH, "other"]}
    node.create(user("sleep 1000"))
    await node.wait_phase("Running")
    informer = node.api.informer("/api/v1/persistentvolumes")
    provided = ProvidedVolumes(node.api, informer, node.layout.volumes, node.events, node.manager.mounts)
    node.start(provided.run())
    volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    node.api.put("/api/v1/persistentvolumes/pv-data", volume)
    node.delete(grace=1)
    await node.wait_gone()
    await eventually(lambda: not path.exists(), "the removal of the directory")
    await eventually(
        lambda: node.api.objects["/api/v1/persistentvolumes/pv-data"]["metadata"]["finalizers"] == ["other"],
        "the finalizer to be removed",
    )


async def test_mount_options_apply_to_a_local_directory(node, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "disk/run").chmod(0o755)
    bind(node, {"local": {"path": str(tmp_path / "disk")}, "mountOptions": ["noexec", "nosuid"]})
    node.create(user("/d/run; grep ' /d ' /proc/mounts"))
    await ended(node)
    assert "ran" not in node.log("web")
    assert "nosuid" in node.log("web")
    assert "noexec" in node.log("web")


async def test_a_mount_option_that_makes_no_sense_is_named(node, tmp_path):
    bind(node, {"local": {"path": str(tmp_path)}, "mountOptions": ["vers=4.1"]})
    node.create(user("true"))
    await told(node, 'mount option "vers=4.1" does not apply to a directory')


@pytest.fixture
def device(tmp_path):
    """A loop device with an empty ext4."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"")
    os.truncate(image, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    found = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no loop device: {found.stderr.strip()}")
    yield found.stdout.strip()
    subprocess.run(["losetup", "-d", found.stdout.strip()], check=True)


async def test_a_block_device_is_mounted_with_its_file_system(device, node):
    bind(node, {"local": {"path": device, "fsType": "ext4"}, "mountOptions": ["noatime"]})
    node.create(user("grep ' /d ' /proc/mounts; echo x > /d/f", securityContext={"fsGroup": 2000}))
    assert (await ended(node))["exitCode"] == 0, node.log("web")
    assert "ext4" in node.log("web")
    assert "noatime" in node.log("web")
    node.delete(grace=0)
    await node.wait_gone()
    assert not any(point.source == device for point in mount_points())


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda node: None, 'persistentvolumeclaim "data" not found'),
        (lambda node: bind(node, {"local": {"path": "/"}}, phase="Pending"), 'claim "data" is not bound'),
        (lambda node: bind(node, {"local": {"path": "/nowhere"}}), 'path "/nowhere" does not exist'),
        (lambda node: bind(node, {"csi": {"driver": "x"}}), "volumes of type csi are not supported by this node"),
        (lambda node: bind(node, {"local": {"path": "/"}, "volumeMode": "Block"}), "volumeMode Block is not supported"),
        (lambda node: bind(node, {"local": {"path": "/"}, "claimRef": {"uid": "x"}}), "belongs to another claim"),
    ],
)
async def test_what_cannot_be_mounted_is_told(node, prepare, text):
    prepare(node)
    node.create(user("true"))
    assert "MountVolume.SetUp failed" in await told(node, text)


async def test_mount_options_of_a_host_path_are_refused(node, tmp_path):
    bind(node, {"hostPath": {"path": str(tmp_path)}, "mountOptions": ["noexec"]})
    node.create(user("true"))
    assert "Mount options are not supported for this volume type" in await told(node, "MountVolume.SetUp failed")


async def test_mount_options_in_the_deprecated_annotation_win(node, tmp_path):
    (tmp_path / "disk").mkdir()
    options = {"volume.beta.kubernetes.io/mount-options": "noexec, nodev"}
    bind(node, {"local": {"path": str(tmp_path / "disk")}, "mountOptions": ["ro"]}, notes=options)
    node.create(user("touch /d/f && grep ' /d ' /proc/mounts"))
    assert (await ended(node))["exitCode"] == 0, node.log("web")
    assert "rw,nodev,noexec" in node.log("web")


async def test_nfs_without_its_helper_says_what_to_install(node, monkeypatch):
    monkeypatch.setattr(mounting.shutil, "which", lambda name: None)
    bind(node, {"nfs": {"server": "192.0.2.1", "path": "/x"}})
    node.create(user("true"))
    await told(node, "install nfs-common")


async def test_a_mount_that_fails_shows_what_mount_said(node, tmp_path, monkeypatch):
    helper = tmp_path / "mount"
    helper.write_text('#!/bin/sh\necho "no such device: $*" >&2\nexit 32\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(mounting.shutil, "which", lambda name: name)
    source = {"nfs": {"server": "192.0.2.1", "path": "/x", "readOnly": True}}
    bind(node, {**source, "mountOptions": ["vers=4.1"]})
    node.create(user("true"))
    message = await told(node, "failed with status 32")
    assert "-t nfs -o vers=4.1,ro 192.0.2.1:/x" in message


async def test_a_claim_mounted_read_only_cannot_be_written(node, tmp_path):
    bind(node, {"hostPath": {"path": str(tmp_path)}})
    node.create(user("touch /d/f", source={"readOnly": True}))
    assert (await ended(node))["exitCode"] != 0


async def test_a_sub_path_expression_gives_each_pod_its_own_directory(node, tmp_path):
    bind(node, {"hostPath": {"path": str(tmp_path / "disk"), "type": "DirectoryOrCreate"}})
    made = user("echo x > /d/f", mount={"subPathExpr": "$(ME)"})
    made["spec"]["containers"][0]["env"] = [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    node.create(made)
    assert (await ended(node))["exitCode"] == 0, node.log("web")
    assert (tmp_path / "disk/p/f").exists()


async def test_a_sub_path_that_leads_out_of_its_volume_is_refused_before_anything_starts(node, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/link").symlink_to("/etc")
    bind(node, {"hostPath": {"path": str(tmp_path / "disk")}})
    node.create(user("ls /d", mount={"subPath": "link"}))
    text = 'Error: failed to prepare subPath for volumeMount "d" of container "web": link: invalid cross-device link'
    assert await told(node, "subPath") == text

    def waits():
        (status,) = node.status("p")["containerStatuses"]
        return status["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError"

    await eventually(waits, "the reason in the status")


async def test_the_group_of_a_pod_owns_its_volume(node, tmp_path):
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "disk/deep/f").write_text("x")
    (tmp_path / "disk/link").symlink_to("/etc/passwd")
    bind(node, {"local": {"path": str(tmp_path / "disk")}})
    context = {"fsGroup": 2000, "runAsUser": 1000}
    node.create(user("echo y >> /d/deep/f && touch /d/deep/new && stat -c %g /d/deep/new", securityContext=context))
    assert (await ended(node))["exitCode"] == 0, node.log("web")
    assert node.log("web") == "2000\n"
    assert os.stat("/etc/passwd").st_gid == 0


def test_on_root_mismatch_leaves_a_tree_alone_whose_root_is_right(tmp_path):
    (tmp_path / "f").write_text("")
    assert ownership.apply(tmp_path, 2000, "OnRootMismatch", read_only=False)
    (tmp_path / "g").write_text("")
    os.chown(tmp_path / "g", 0, 0)
    assert not ownership.apply(tmp_path, 2000, "OnRootMismatch", read_only=False)
    assert (tmp_path / "g").stat().st_gid == 0
    assert ownership.apply(tmp_path, 2000, "Always", read_only=False)
    assert (tmp_path / "g").stat().st_gid == 2000


async def test_a_mounted_volume_is_found_again_without_the_api(node, tmp_path):
    (tmp_path / "disk").mkdir()
    bind(node, {"local": {"path": str(tmp_path / "disk")}, "mountOptions": ["nodev"]})
    made = user("echo x >> /d/f; sleep 1000")
    made["spec"]["restartPolicy"] = "Always"
    node.create(made)
    await eventually(lambda: (tmp_path / "disk/f").exists(), "the first start")
    node.api.up.clear()
    await node.crash()
    node.kill_keeper()
    node.groups.kill("")
    node.start_keeper()
    node.boot()
    await eventually(lambda: (tmp_path / "disk/f").read_text() == "x\nx\n", "the second start")
    node.api.up.set()


async def test_an_image_is_a_read_only_volume(node, layer):
    volume = {"name": "i", "image": {"reference": "tools:1"}}
    mounts = [{"name": "i", "mountPath": "/i"}, {"name": "i", "mountPath": "/s", "subPath": "bin"}]
    script = "/i/bin/echo from-image && /s/echo sub; touch /i/x || echo refused; sleep 100"
    node.create(pod(shell("web", script, volumeMounts=mounts), volumes=[volume]))
    log = await node.wait_log("web", "refused\n")
    assert log.startswith("from-image\nsub\n")
    assert "volumes of u1" in node.images.held
    node.delete(grace=0)
    await node.wait_gone()
    assert "volumes of u1" not in node.images.held
    assert (layer / "bin/busybox").exists()


async def test_an_image_of_several_layers_is_shown_to_a_pod_with_users_of_its_own(node, layer, tmp_path):
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/more").write_text("of root alone\n")
    (upper / "etc/more").chmod(0o600)
    upper.chmod(0o755)
    node.images.layers["tools:1"] = [layer, upper]
    volume = {"name": "i", "image": {"reference": "tools:1"}}
    mounts = [{"name": "i", "mountPath": "/i"}, {"name": "i", "mountPath": "/s", "subPath": "etc"}]
    script = "cat /i/etc/more /s/more; stat -c %u /i/etc/more; /i/bin/echo below; touch /i/x || echo refused; sleep 100"
    node.create(pod(shell("web", script, volumeMounts=mounts), volumes=[volume], hostUsers=False))
    log = await node.wait_log("web", "refused\n")
    assert log.startswith("of root alone\nof root alone\n0\nbelow\n")


async def test_an_image_of_several_layers_shows_their_union(node, tmp_path):
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
        (tmp_path / name / "both").write_text(name)
    node.images.layers["tools:1"] = [tmp_path / "lower", tmp_path / "upper"]
    spec = shell("web", "cat /i/upper /i/lower /i/both", volumeMounts=[{"name": "i", "mountPath": "/i"}])
    node.create(pod(spec, restartPolicy="Never", volumes=[{"name": "i", "image": {"reference": "tools:1"}}]))
    assert (await ended(node))["exitCode"] == 0
    assert node.log("web") == "upperlowerupper\n"


async def test_an_image_that_is_missing_is_told(node):
    node.images.missing.add("none:1")
    spec = shell("web", "true", volumeMounts=[{"name": "i", "mountPath": "/i"}])
    node.create(pod(spec, volumes=[{"name": "i", "image": {"reference": "none:1"}}]))
    await told(node, 'image "none:1"')


async def test_secrets_lie_on_a_tmpfs_of_their_own_whatever_run_is(node):
    data = {"pw": base64.b64encode(b"hunter2").decode()}
    node.api.put(
        "/api/v1/namespaces/default/secrets/s", {"metadata": {"name": "s", "namespace": "default"}, "data": data}
    )
    spec = shell("web", "sleep 1000", volumeMounts=[{"name": "s", "mountPath": "/s"}])
    node.create(pod(spec, volumes=[{"name": "s", "secret": {"secretName": "s"}}]))
    await node.wait_phase("Running")
    directory = node.layout.pod("default", "p", "u1").volatile
    [point] = [point for point in mount_points() if point.target == str(directory)]
    assert point.kind == "tmpfs"
    assert (directory / "volumes/secret/s/pw").read_bytes() == b"hunter2"


async def test_a_projected_source_that_is_not_stable_yet_is_refused_by_name(node):
    source = {"clusterTrustBundle": {"name": "x", "path": "ca.pem"}}
    spec = shell("web", "true", volumeMounts=[{"name": "t", "mountPath": "/t"}])
    node.create(pod(spec, volumes=[{"name": "t", "projected": {"sources": [source]}}]))
    await told(node, "projected source clusterTrustBundle is not supported by this node")


def test_a_volume_is_where_its_source_says(tmp_path):
    layout = NodeLayout(tmp_path, tmp_path, "c", "n").pod("default", "p", "u")
    assert mounting.place(layout, "d", Source("hostPath", {"path": "/srv"})) == mounting.Path("/srv")
    assert mounting.place(layout, "d", Source("local", {"path": "/srv"})) == mounting.Path("/srv")
    assert mounting.place(layout, "d", Source("local", {"path": "/srv"}, ["ro"])) == layout.mount("d")
    assert mounting.place(layout, "d", Source("nfs", {"server": "s", "path": "/"})) == layout.mount("d")
