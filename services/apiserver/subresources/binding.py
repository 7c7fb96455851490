"""Binding a pod to a node: the one way in which spec.nodeName is ever set on an existing pod."""

from services.apiserver import conditions, decoding
from services.apiserver.failures import bad_request, conflict_on, plain
from services.apiserver.protocol import Document, Object, Outcome, Request
from services.apiserver.routes import Target
from services.apiserver.store import Change, Store
from services.apiserver.write import author
from shared.objects import meta, registry
from shared.state.cache import Record


def created() -> Object:
    """The Status that answers a subresource that creates nothing to look at."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def bind(store: Store, request: Request, target: Target) -> Outcome:
    """Serve pods/NAME/binding and the older bindings collection."""
    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    binding = decoding.decode_as(request, "v1", "Binding")
    metadata = binding.get("metadata") or {}
    name = metadata.get("name", "")
    if target.name and name != target.name:
        raise bad_request("name in URL does not match name in Binding object")
    node = node_of(binding)
    uid = metadata.get("uid")

    def assign(record: Record) -> Change:
        pod = meta.copy(record.object)
        _check(pod, uid)
        pod["spec"]["nodeName"] = node
        for kind in ("annotations", "labels"):
            if metadata.get(kind):
                pod["metadata"][kind] = (pod["metadata"].get(kind) or {}) | metadata[kind]
        pod["status"] = conditions.with_condition(pod.get("status", {}), conditions.scheduled())
        return Change(pod)

    if request.dry_run:
        assign(await store.latest(pods, target.namespace, name))
    else:
        await store.update(pods, target.namespace, name, assign, author(request), cause=f"bound to {node}")
    return Document(created(), 201)


def node_of(binding: Object) -> str:
    """The name of the node that a Binding names."""
    destination = binding.get("target") or {}
    problems = []
    if destination.get("kind") not in (None, "", "Node"):
        kind = destination["kind"]
        problems.append(f'target.kind: Unsupported value: "{kind}": supported values: "Node", "<empty>"')
    if not destination.get("name"):
        problems.append("target.name: Required value")
    if problems:
        raise plain(500, problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
    return str(destination["name"])


def _check(pod: Object, uid: str | None) -> None:
    metadata, spec = pod["metadata"], pod["spec"]
    name = metadata["name"]
    why = ""
    if uid and uid != metadata["uid"]:
        why = (
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}: "
            "the pod was deleted and created again"
        )
    elif "deletionTimestamp" in metadata:
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise conflict_on("", "pods/binding", name, why)
