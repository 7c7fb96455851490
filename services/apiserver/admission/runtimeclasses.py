"""Pods that name a runtime class get its overhead and its place in the cluster (RuntimeClass, KEP-688)."""

from services.apiserver.admission.attributes import Attributes
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.usage import amounts

CLASSES = ("node.k8s.io", "runtimeclasses")
OVERHEAD_DIFFERS = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
OVERHEAD_ALONE = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


def complete(store: Store, asked: Attributes) -> None:
    """Set overhead, node selector and tolerations of a new pod in place; Forbidden if they contradict its class."""
    spec = asked.current.get("spec")
    if not isinstance(spec, dict):
        return
    name = spec.get("runtimeClassName")
    overhead: Object = {}
    if name:
        record = store.state.cache.get(Ref(*CLASSES, "", name))
        if record is None:
            raise forbidden(asked.resource, asked.name, f'pod rejected: RuntimeClass "{name}" not found')
        overhead = (record.object.get("overhead") or {}).get("podFixed") or {}
        _place(asked, spec, record.object.get("scheduling") or {})
    given = spec.get("overhead")
    if given and not overhead:
        raise forbidden(asked.resource, asked.name, OVERHEAD_ALONE)
    if given and amounts.total(amounts.texts(given)) != amounts.total(amounts.texts(overhead)):
        raise forbidden(asked.resource, asked.name, OVERHEAD_DIFFERS)
    if overhead:
        spec["overhead"] = dict(overhead)


def _place(asked: Attributes, spec: Object, scheduling: Object) -> None:
    wanted, own = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    for key, value in sorted(wanted.items()):
        if key in own and own[key] != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {own[key]}"
            )
            raise forbidden(asked.resource, asked.name, why)
    if wanted:
        spec["nodeSelector"] = own | wanted
    present = spec.get("tolerations") or []
    added = [meta.copy(one) for one in scheduling.get("tolerations") or () if one not in present]
    if added:
        spec["tolerations"] = [*present, *added]
