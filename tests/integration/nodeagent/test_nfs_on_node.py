"""Volumes on a server of NFS, which is this machine's own kernel: hence only in the virtual machine of tests/vm."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.fakes.podlife import pod
from tests.integration.nodeagent.test_volumes_on_node import bind, ended, shell, told, user

pytestmark = pytest.mark.skipif(
    "WHERRY_TEST_VM" not in os.environ, reason="a server of NFS is the kernel's: only in the tests' virtual machine"
)
EXPORT = Path("/tmp/export")


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.fixture(scope="module")
def server():
    """The kernel's server with one export, over NFS 4 alone, so that no port mapper is needed."""
    run("modprobe", "-a", "nfsd", "nfsv4")
    run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    for directory in (EXPORT, Path("/var/lib/nfs/v4recovery"), Path("/run/rpc_pipefs")):
        directory.mkdir(parents=True, exist_ok=True)
    for name in ("etab", "rmtab"):
        Path("/var/lib/nfs", name).touch()
    Path("/etc/exports").write_text(f"{EXPORT} 127.0.0.1(rw,fsid=0,insecure,no_root_squash,no_subtree_check)\n")
    run("exportfs", "-r")
    run("rpc.mountd", "--no-nfs-version", "3")
    run("rpc.nfsd", "--no-nfs-version", "3", "--grace-time", "10", "1")
    Path("/proc/fs/nfsd/v4_end_grace").write_text("Y")
    yield {"server": "127.0.0.1", "path": "/"}
    run("rpc.nfsd", "0")


def served(server, *options, **more):
    return {"nfs": {**server, **more}, "mountOptions": ["nfsvers=4.2", *options]}


async def test_a_claim_is_mounted_with_its_options_and_unmounted_with_its_pod(node, server):
    bind(node, served(server, "soft", "timeo=50", "noatime", "rsize=65536"))
    node.create(user("echo kept >/d/f && grep ' /d ' /proc/mounts"))
    assert (await ended(node))["exitCode"] == 0, node.log("web")
    assert (EXPORT / "f").read_text() == "kept\n"
    for option in ("nfs4 rw,", "noatime", "vers=4.2", "rsize=65536", "soft", "timeo=50"):
        assert option in node.log("web")


async def test_a_volume_of_the_pod_is_mounted_read_only_if_it_says_so(node, server):
    (EXPORT / "g").write_text("there\n")
    mounts = [{"name": "d", "mountPath": "/d"}]
    volumes = [{"name": "d", "nfs": {**server, "readOnly": True}}]
    spec = shell("web", "cat /d/g; touch /d/h", volumeMounts=mounts)
    node.create(pod(spec, restartPolicy="Never", volumes=volumes))
    assert (await ended(node))["exitCode"] == 1
    assert node.log("web").startswith("there\n")
    assert "ead-only file system" in node.log("web")


async def test_what_the_mount_says_is_told_in_an_event(node, server):
    bind(node, served(server, path="/none"))
    node.create(user("true"))
    message = await told(node, "MountVolume.SetUp failed")
    assert "mount.nfs: " in message
    assert "127.0.0.1:/none" in message
