"""Names and places: every id and path of a pod is derived here, so that a restarted agent derives the same ones.

Container and sandbox ids are hashes of (pod uid, name, attempt). Starting the same attempt twice therefore names the
same container, which makes a start that was cut short by a crash safe to repeat.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path


def sandbox_id(uid: str, attempt: int) -> str:
    """Id (64 hex digits) of a pod's sandbox number `attempt`, counted from 0."""
    return hashlib.sha256(f"sandbox/{uid}/{attempt}".encode()).hexdigest()


def container_id(uid: str, name: str, attempt: int) -> str:
    """Id (64 hex digits) of a container's start number `attempt`, counted from 0 (= its restart count)."""
    return hashlib.sha256(f"container/{uid}/{name}/{attempt}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """Directories of one node: `data` survives a reboot, `run` lies on a tmpfs and does not."""

    data: Path
    run: Path
    cluster: str
    node: str

    @property
    def root(self) -> Path:
        return self.data / "nodes" / self.node

    @property
    def volatile(self) -> Path:
        return self.run / "nodes" / self.node

    @property
    def keeper_socket(self) -> Path:
        return self.volatile / "keeper.sock"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def containers(self) -> Path:
        return self.root / "containers"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def volumes(self) -> Path:
        """Directories of the built-in provisioner; they outlive pods."""
        return self.root / "volumes"

    @property
    def manifests(self) -> Path:
        """Files of static pods."""
        return self.root / "manifests"

    @property
    def pod_checkpoints(self) -> Path:
        """Process images of pods, on their way to or from another node or a file."""
        return self.root / "checkpoints"

    @property
    def pod_captures(self) -> Path:
        """Checkpoints that are being taken; nothing in here outlives the agent that takes them."""
        return self.root / "captures"

    @property
    def network(self) -> Path:
        return self.root / "network"

    def netns_name(self, sandbox: str) -> str:
        return f"{self.cluster}-{self.node}-{sandbox[:12]}"

    def pod(self, namespace: str, name: str, uid: str) -> "PodLayout":
        return PodLayout(self, namespace, name, uid)


@dataclass(frozen=True, slots=True)
class PodLayout:
    """Directories of one pod."""

    node: NodeLayout
    namespace: str
    name: str
    uid: str

    @property
    def root(self) -> Path:
        return self.node.pods / self.uid

    @property
    def volatile(self) -> Path:
        return self.node.volatile / "pods" / self.uid

    @property
    def logs(self) -> Path:
        return self.node.logs / f"{self.namespace}_{self.name}_{self.uid}"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def mounts(self) -> Path:
        """Where storage that is not ours is mounted: never removed with its content."""
        return self.root / "mounts"

    def mount(self, name: str) -> Path:
        return self.mounts / name

    def log(self, container: str, attempt: int) -> Path:
        return self.logs / container / f"{attempt}.log"

    def termination_log(self, container: str, attempt: int) -> Path:
        return self.root / "containers" / container / f"{attempt}.termination"

    def volume(self, kind: str, name: str) -> Path:
        """Directory of a durable volume; `kind` is the volume source's field name, such as emptyDir."""
        return self.root / "volumes" / kind / name

    def projection(self, kind: str, name: str) -> Path:
        """Directory of a volume made of API objects; kept off the disk because it may hold secrets."""
        return self.volatile / "volumes" / kind / name

    def writable(self, container_id: str) -> Path:
        """Directory of a container's writable layer."""
        return self.node.containers / container_id
