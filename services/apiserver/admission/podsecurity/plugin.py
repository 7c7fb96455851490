"""Pods against the policy of their namespace: refused where it is enforced, warned about where it asks for warnings."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.podsecurity import levels
from services.apiserver.admission.podsecurity.evaluation import violations
from services.apiserver.admission.podsecurity.levels import LEVELS, PRIVILEGED, Demand, Policy
from services.apiserver.admission.podsecurity.wording import Complaint
from services.apiserver.failures import forbidden, invalid
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.state.cache import Record

POD = ("", "pods")
NAMESPACE = ("", "namespaces")
TEMPLATES = frozenset(
    {
        ("", "podtemplates"),
        ("", "replicationcontrollers"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
    }
)
CONCERNED = TEMPLATES | {POD, NAMESPACE}
# subresources that leave the spec of a pod alone
HARMLESS = frozenset({"attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"})
MAX_PODS = 3000
"""How many pods of a namespace are looked at when its policy becomes stricter."""
ENFORCED = "pod-security.kubernetes.io/enforce-policy"
AUDITED = "pod-security.kubernetes.io/audit-violations"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class PodSecurity:
    """The plugin. Namespaces without labels demand nothing."""

    store: Store

    def check(self, asked: Attributes) -> None:
        """Forbidden if a pod violates what is enforced, Invalid if labels of a namespace are wrong; else warnings."""
        if asked.key not in CONCERNED or asked.operation not in (CREATE, UPDATE):
            return
        if asked.key == NAMESPACE:
            self._check_namespace(asked)
        elif asked.key == POD:
            self._check_pod(asked)
        elif not asked.subresource:
            self._check_template(asked)

    def _check_pod(self, asked: Attributes) -> None:
        policy = self._policy(asked)
        if asked.subresource in HARMLESS or not _matters(asked):
            return
        asked.request.note(ENFORCED, str(policy.enforce))
        if policy == levels.NOTHING:
            return
        metadata, spec = asked.current["metadata"], asked.current.get("spec") or {}
        refused = violations(policy.enforce, metadata, spec)
        _audit(asked, policy.audit, metadata, spec)
        if refused:
            raise forbidden(asked.resource, asked.name, f'violates PodSecurity "{policy.enforce}": {_joined(refused)}')
        _warn(asked, policy.warn, metadata, spec)

    def _check_template(self, asked: Attributes) -> None:
        policy = self._policy(asked)
        if policy.warn.level == policy.audit.level == PRIVILEGED:
            return
        template = _template(asked)
        if template and template.get("spec"):
            _audit(asked, policy.audit, template.get("metadata") or {}, template["spec"])
            _warn(asked, policy.warn, template.get("metadata") or {}, template["spec"])

    def _check_namespace(self, asked: Attributes) -> None:
        labels = _labels(asked.object)
        if asked.subresource or not (levels.is_labelled(labels) or levels.is_labelled(_labels(asked.old))):
            return
        wrong = levels.problems(labels)
        old = _labels(asked.old)
        # what was wrong already must not stand in the way of other changes
        if wrong and (asked.operation == CREATE or wrong != levels.problems(old)):
            raise invalid("", "Namespace", asked.name, wrong)
        if asked.operation == CREATE:
            return
        new, before = levels.policy_of(labels).enforce, levels.policy_of(old).enforce
        relaxed = new.version == before.version and LEVELS.index(new.level) <= LEVELS.index(before.level)
        if new != before and new.level != PRIVILEGED and not relaxed:
            asked.request.warnings.extend(self._existing(asked.name, new))

    def _existing(self, namespace: str, demand: Demand) -> list[str]:
        """Warnings about the pods that a stricter policy would refuse."""
        records = self.store.state.cache.list("", "pods", namespace)
        found: dict[str, list[str]] = {}
        for record in records[:MAX_PODS]:
            pod = record.object
            broken = violations(demand, pod["metadata"], pod.get("spec") or {})
            if broken:
                found.setdefault(", ".join(one.reason for one in broken), []).append(pod["metadata"]["name"])
        warnings = []
        if len(records) > MAX_PODS:
            text = f"only checked against the first {MAX_PODS} of {len(records)} existing pods"
            warnings.append(f"new PodSecurity enforce level {text}")
        if found:
            text = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{demand}"'
            warnings.append(text)
        return warnings + sorted(f"{_several(names)}: {reasons}" for reasons, names in found.items())

    def _policy(self, asked: Attributes) -> Policy:
        record = self.store.state.cache.get(Ref("", "namespaces", "", asked.namespace))
        return levels.NOTHING if record is None else _policy_of(record)


@lru_cache(maxsize=256)
def _policy_of(namespace: Record) -> Policy:
    """What a namespace demands; worked out once for all pods that are made in it."""
    labels = _labels(namespace.object)
    return levels.policy_of(labels) if levels.is_labelled(labels) else levels.NOTHING


def _warn(asked: Attributes, demand: Demand, metadata: Object, spec: Object) -> None:
    broken = violations(demand, metadata, spec)
    if broken:
        asked.request.warnings.append(f'would violate PodSecurity "{demand}": {_joined(broken)}')


def _audit(asked: Attributes, demand: Demand, metadata: Object, spec: Object) -> None:
    """Tell the audit log, if there is one, what a demand that only it hears of would refuse."""
    if asked.request.annotations is not None and (broken := violations(demand, metadata, spec)):
        asked.request.note(AUDITED, f'would violate PodSecurity "{demand}": {_joined(broken)}')


def _joined(broken: Iterable[Complaint]) -> str:
    return ", ".join(str(one) for one in broken)


def _several(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'' if others == 1 else 's'})"


def _labels(obj: Object | None) -> dict[str, str]:
    return {} if obj is None else obj["metadata"].get("labels") or {}


def _template(asked: Attributes) -> Object | None:
    """The pod template of a workload."""
    obj = asked.current
    if asked.key == ("", "podtemplates"):
        return obj.get("template")
    spec = obj.get("spec") or {}
    if asked.key == ("batch", "cronjobs"):
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return spec.get("template")


def _matters(asked: Attributes) -> bool:
    """Whether an update changes what the standards look at: images, containers and seccomp annotations."""
    if asked.operation == CREATE or asked.old is None:
        return True
    return _significant(asked.current) != _significant(asked.old)


def _significant(pod: Object) -> object:
    spec, annotations = pod.get("spec") or {}, pod["metadata"].get("annotations") or {}
    owners = [
        (kind, one) for kind in ("containers", "initContainers", "ephemeralContainers") for one in spec.get(kind) or ()
    ]
    return (
        annotations.get(SECCOMP_POD),
        [
            (kind, one["name"], one.get("image"), annotations.get(SECCOMP_CONTAINER + one["name"]))
            for kind, one in owners
        ],
    )
