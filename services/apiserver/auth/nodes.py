"""What a node may see and change: itself, the pods bound to it, and what those pods refer to (the Node authorizer and
the NodeRestriction plugin of Kubernetes). A stolen node credential must not open the secrets of other nodes.

A pod that is about to move is made on its new node first, so that one may read it and what it refers to as well."""

from collections.abc import Callable, Iterator

import msgspec

from services.apiserver.protocol import Object
from services.apiserver.routes import Attributes
from shared.events.subjects import Ref
from shared.objects import meta, volumebinding
from shared.state.cache import Cache, Change, Record

READ = ("get", "list", "watch")
CHANGE = ("update", "patch")
# everything the node's network and lifecycle code follows
READABLE = frozenset(
    {
        ("", "services"),
        ("", "endpoints"),
        ("", "nodes"),
        ("", "namespaces"),
        ("", "persistentvolumes"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "networkpolicies"),
        ("node.k8s.io", "runtimeclasses"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "csidrivers"),
    }
)
LEASE_NAMESPACE = "kube-node-lease"
MIGRATING = "wherry.io/Migrating"

Answer = tuple[bool, str]
Place = tuple[str, str]


class NodeAuthorizer:
    """Keeps, from the cache's changes, which pods are on which node, and which are coming to it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._pods: dict[str, dict[Place, Record]] = {}
        self._coming: dict[str, dict[Place, Record]] = {}
        cache.on_change(self._on_change)

    def decide(self, node: str, asked: Attributes) -> Answer:
        """(allowed, why not) for a node."""
        key = (asked.group, asked.resource)
        if key in READABLE and asked.verb in READ and not asked.subresource:
            return True, ""
        rule: Callable[[str, Attributes], Answer] | None = _RULES.get(key)
        if rule is not None:
            return rule(node, asked)
        match key:
            case ("", "pods"):
                return self._on_pod(node, asked)
            case ("", "persistentvolumes"):
                return self._on_volume(node, asked)
            case ("", "configmaps" | "secrets" | "serviceaccounts" | "persistentvolumeclaims"):
                return self._on_reference(node, asked)
        return False, ""

    def pod_uses_account(self, node: str, namespace: str, pod: str, uid: str, account: str) -> bool:
        """Whether that pod is on the node and runs as the account, so that the node may have a token for it."""
        record = self._near(node).get((namespace, pod))
        if record is None:
            return False
        found = record.object
        if found["metadata"].get("uid") != uid:
            return False
        return bool(found["spec"].get("serviceAccountName", "default") == account)

    def _on_pod(self, node: str, asked: Attributes) -> Answer:
        if asked.subresource not in ("", "status"):
            return False, ""
        if asked.verb in ("list", "watch") and not asked.subresource:
            if asked.fields.get("spec.nodeName") == node:
                return True, ""
            return False, f"can only list and watch pods with field selector spec.nodeName={node}"
        if asked.verb == "create" and not asked.subresource:
            # the object itself is looked at by the NodeRestriction plugin
            return True, ""
        allowed = ("get",) if not asked.subresource else ("get", *CHANGE)
        if asked.verb == "delete" and not asked.subresource:
            allowed = ("delete",)
        if asked.verb not in allowed:
            return False, ""
        readable = asked.verb == "get" and not asked.subresource
        if (asked.namespace, asked.name) in (self._near(node) if readable else self._pods.get(node, {})):
            return True, ""
        return False, f"no relationship found between node '{node}' and this object"

    def _on_volume(self, node: str, asked: Attributes) -> Answer:
        """A node removes the directories of its own volumes, and then their finalizers."""
        if asked.verb != "patch" or asked.subresource not in ("", "status"):
            return False, ""
        record = self._cache.get(Ref("", "persistentvolumes", "", asked.name))
        if record is not None and _is_on(record.object, node):
            return True, ""
        return False, f"no relationship found between node '{node}' and this object"

    def _on_reference(self, node: str, asked: Attributes) -> Answer:
        if asked.resource == "serviceaccounts" and (asked.subresource, asked.verb) == ("token", "create"):
            pass
        elif asked.subresource or asked.verb not in READ:
            return False, ""
        name = asked.name or asked.fields.get("metadata.name", "")
        if not name:
            return False, f"can only read individual resources of this type, not all {asked.resource}"
        for (namespace, _), pod in self._near(node).items():
            if namespace == asked.namespace and (asked.resource, name) in references(pod.object):
                return True, ""
        return False, f"no relationship found between node '{node}' and this object"

    def _on_change(self, change: Change) -> None:
        if change.record.ref[:2] != ("", "pods"):
            return
        before = _placed(change.previous) if change.previous is not None else _Placed()
        after = _placed(change.record) if change.type != "DELETED" else _Placed()
        _move(self._pods, before.spec.nodeName, after.spec.nodeName, change.record)
        _move(self._coming, before.target, after.target, change.record)

    def _near(self, node: str) -> dict[Place, Record]:
        """The pods on a node and those that are coming to it."""
        pods, coming = self._pods.get(node, {}), self._coming.get(node)
        return pods | coming if coming else pods


def _move(pods: dict[str, dict[Place, Record]], before: str, after: str, record: Record) -> None:
    place = (record.ref.namespace, record.ref.name)
    if before and before != after:
        former = pods.get(before, {})
        former.pop(place, None)
        if not former:
            pods.pop(before, None)
    if after:
        pods.setdefault(after, {})[place] = record


def references(pod: Object) -> set[tuple[str, str]]:
    """(plural, name) of what a pod reads from its namespace."""
    claims = {("persistentvolumeclaims", name) for name in volumebinding.claim_names(pod).values()}
    return set(_references(pod.get("spec", {}))) | claims


def _references(spec: Object) -> Iterator[tuple[str, str]]:
    yield "serviceaccounts", spec.get("serviceAccountName") or "default"
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _volume_references(volume)
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                yield "configmaps", source.get("configMapRef", {}).get("name", "")
                yield "secrets", source.get("secretRef", {}).get("name", "")
            for variable in container.get("env") or ():
                value = variable.get("valueFrom") or {}
                yield "configmaps", value.get("configMapKeyRef", {}).get("name", "")
                yield "secrets", value.get("secretKeyRef", {}).get("name", "")


def _volume_references(volume: Object) -> Iterator[tuple[str, str]]:
    yield "secrets", volume.get("secret", {}).get("secretName", "")
    yield "configmaps", volume.get("configMap", {}).get("name", "")
    for source in volume.get("projected", {}).get("sources") or ():
        yield "secrets", source.get("secret", {}).get("name", "")
        yield "configmaps", source.get("configMap", {}).get("name", "")


def _is_on(volume: Object, node: str) -> bool:
    """Whether a volume of the built-in provisioner lies on a node: its only term names the node's host name."""
    if meta.annotations(volume).get(volumebinding.PROVISIONED_BY) != volumebinding.LOCAL_PATH:
        return False
    terms = volumebinding.node_terms(volume) or ()
    expressions = [one for term in terms for one in term.get("matchExpressions") or ()]
    return len(expressions) == 1 and expressions[0].get("values") == [node]


class _Spec(msgspec.Struct, frozen=True):
    nodeName: str = ""


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True):
    conditions: tuple[_Condition, ...] | None = None


class _Placed(msgspec.Struct, frozen=True):
    """The fields of a pod that count here; decoding all of every pod would fill the memory with them."""

    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def target(self) -> str:
        """The node that the pod is moving to, "" if it is not: the end of its mark, `ID to NODE`."""
        for one in self.status.conditions or ():
            if one.type == MIGRATING and one.status == "True":
                return one.message.rpartition(" to ")[2]
        return ""


def _placed(pod: Record) -> _Placed:
    return pod.read(_Placed)


def _on_node(node: str, asked: Attributes) -> Answer:
    if asked.subresource not in ("", "status") or asked.verb not in ("create", *CHANGE, "get"):
        return False, ""
    if asked.name == node or (asked.verb == "create" and not asked.name):
        return True, ""
    return False, f"node '{node}' cannot modify node '{asked.name}'"


def _on_lease(node: str, asked: Attributes) -> Answer:
    if asked.namespace != LEASE_NAMESPACE or asked.verb not in ("create", "get", *CHANGE, "delete"):
        return False, ""
    if asked.name == node or (asked.verb == "create" and not asked.name):
        return True, ""
    return False, "can only access node lease with the same name as the requesting node"


def _on_event(node: str, asked: Attributes) -> Answer:
    return asked.verb in ("create", *CHANGE), ""


def _on_review(node: str, asked: Attributes) -> Answer:
    return asked.verb == "create", ""


_RULES: dict[tuple[str, str], Callable[[str, Attributes], Answer]] = {
    ("", "nodes"): _on_node,
    ("coordination.k8s.io", "leases"): _on_lease,
    ("", "events"): _on_event,
    ("events.k8s.io", "events"): _on_event,
    ("authentication.k8s.io", "tokenreviews"): _on_review,
    ("authorization.k8s.io", "subjectaccessreviews"): _on_review,
}
