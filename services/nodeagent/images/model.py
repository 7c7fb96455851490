"""What the agent sees of an image, and what the store remembers of it.

Why dataclasses: the store hands the same values to the pod worker, the garbage collector and the node status.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shared.images.manifests import ImageConfig

Policy = str
"""`Always`, `IfNotPresent` or `Never`, as in Container.imagePullPolicy."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one layer is. `done` and `total` are compressed bytes; `phase` is downloading, unpacked or exists."""

    reference: str
    layer: str
    done: int
    total: int
    phase: str


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Image:
    """An image on the node.

    `id` is the digest of its configuration, `digest` that of its manifest. `layers` are unpacked directories, bottom
    first, ready for overlayfs. `size` is the content of the layers in bytes. `reference` is the name it was asked by,
    `references` all names it has here.
    """

    reference: str
    id: str
    digest: str
    layers: list[Path]
    config: ImageConfig
    size: int
    references: list[str] = field(default_factory=list)
    last_used: float = 0.0
    pinned: bool = False
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One name of an image, as stored on disk. `layers` are names of layer directories, bottom first."""

    reference: str
    id: str
    digest: str
    layers: tuple[str, ...]
    size: int
    pulled: float
    last_used: float
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """An unpacked layer. `implicit` lists directories which the layer names only as parents of something."""

    name: str
    diff_id: str
    size: int
    implicit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registries:
    """Where images come from.

    `cluster` is the cluster's own registry as host:port ("" for none), spoken to in plain HTTP and asked first for
    unqualified names; `insecure` are further registries without TLS; `auth` is the node's Docker config, asked after
    the pod's own secrets.
    """

    cluster: str = ""
    insecure: tuple[str, ...] = ()
    auth: dict[str, object] | None = None
    timeout: float = 30.0
