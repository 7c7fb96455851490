"""From a claim in a pod to the volume behind it, as the API has it, and as it was when the API was last heard.

What was found out is kept beside the pod's manifest, so that a node that reboots while the control plane is away can
mount its volumes again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from services.nodeagent import stored
from services.nodeagent.environment import ConfigurationError
from services.nodeagent.layout import PodLayout
from services.nodeagent.link import Api, is_offline
from shared.errors import ApiError, BusError, NotFound
from shared.objects import meta
from shared.objects.volumebinding import LOCAL_PATH, PROVISIONED_BY, claim_names

OPTIONS = "volume.beta.kubernetes.io/mount-options"
_SETTINGS = ("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
             "storageClassName", "volumeAttributesClassName", "volumeMode")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """What to mount: `kind` is the volume source's field name, `spec` its content; `provided` volumes are directories
    that this node makes itself."""

    kind: str
    spec: dict[str, Any]
    options: list[str] = field(default_factory=list)
    volume: str = ""
    provided: bool = False


async def resolve(api: Api, pod: Mapping[str, Any], name: str, layout: PodLayout) -> Source:
    """The source of the pod's volume `name`, which is a claim.

    Raises ConfigurationError if it is not bound or not the pod's, ApiError or BusError if nobody knows.
    """
    try:
        source = await _ask(api, pod, name)
    except (ApiError, BusError) as exc:
        known = _known(layout).get(name)
        if known is None or not is_offline(exc):
            raise
        return known
    stored.write(_path(layout), {**_documents(layout), name: asdict(source)})
    return source


def remembered(layout: PodLayout) -> dict[str, Source]:
    """The sources that are known from before, by volume name."""
    return _known(layout)


async def _ask(api: Api, pod: Mapping[str, Any], name: str) -> Source:
    namespace, claim_name = pod["metadata"]["namespace"], claim_names(pod)[name]
    try:
        claim = await api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim_name}")
    except NotFound as exc:
        raise ConfigurationError(f'persistentvolumeclaim "{claim_name}" not found') from exc
    ephemeral = any(volume["name"] == name and volume.get("ephemeral") for volume in pod["spec"]["volumes"])
    if ephemeral and not meta.is_controlled_by(claim, pod):
        raise ConfigurationError(
            f'persistentvolumeclaim "{claim_name}" was not created for this pod (pod is not owner)'
        )
    phase = (claim.get("status") or {}).get("phase")
    volume_name = claim["spec"].get("volumeName")
    if phase != "Bound" or not volume_name:
        raise ConfigurationError(f'persistentvolumeclaim "{claim_name}" is not bound')
    try:
        volume = await api.get(f"/api/v1/persistentvolumes/{volume_name}")
    except NotFound as exc:
        raise ConfigurationError(f'persistentvolume "{volume_name}" of claim "{claim_name}" not found') from exc
    if (volume["spec"].get("claimRef") or {}).get("uid") != meta.uid(claim):
        raise ConfigurationError(f'persistentvolume "{volume_name}" belongs to another claim than "{claim_name}"')
    if (volume["spec"].get("volumeMode") or "Filesystem") != "Filesystem":
        raise ConfigurationError(f'persistentvolume "{volume_name}": volumeMode Block is not supported by this node')
    kind = next((key for key in volume["spec"] if key not in _SETTINGS), "")
    provided = meta.annotations(volume).get(PROVISIONED_BY) == LOCAL_PATH
    return Source(kind, dict(volume["spec"].get(kind) or {}), mount_options(volume), volume_name, provided)


def mount_options(volume: Mapping[str, Any]) -> list[str]:
    """The options of a PersistentVolume; those of the deprecated annotation win, as they do for kubelet."""
    text = meta.annotations(volume).get(OPTIONS)
    if text is not None:
        return [option.strip() for option in text.split(",") if option.strip()]
    return [str(option) for option in volume["spec"].get("mountOptions") or ()]


def _known(layout: PodLayout) -> dict[str, Source]:
    return {name: Source(**document) for name, document in _documents(layout).items()}


def _documents(layout: PodLayout) -> dict[str, Any]:
    document = stored.read(_path(layout))
    return document if isinstance(document, dict) else {}


def _path(layout: PodLayout) -> Any:
    return layout.root / "claims.json"
