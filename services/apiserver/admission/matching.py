"""Which operations a webhook or a policy wants to hear of: by rules, by namespace, by object (MatchResources)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.apiserver import conversion
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects import registry, selectors
from shared.objects.registry import Resource
from shared.objects.selectors import LabelSelector

NAMESPACES = ("", "namespaces")
GROUP = "admissionregistration.k8s.io"
# what decides over admission is never decided by it, or nobody could repair a mistake
EXEMPT = frozenset(
    (GROUP, plural)
    for plural in (
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    )
)


@dataclass(frozen=True, slots=True)
class Operation:
    """What rules look at: an operation on a resource, and whether it happens inside a namespace."""

    resource: Resource
    subresource: str
    operation: str

    @classmethod
    def of(cls, asked: Attributes) -> "Operation":
        return cls(asked.resource, asked.subresource, asked.operation)

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        resource = self.resource
        return resource.group, resource.version, resource.plural, self.subresource, self.operation


@dataclass(frozen=True, slots=True)
class Matcher:
    """The matching half of a webhook, a policy or a binding."""

    rules: Sequence[Object]
    excluded: Sequence[Object]
    exact: bool
    namespaces: LabelSelector
    objects: LabelSelector

    @classmethod
    def of(cls, spec: Object, rules: str = "rules", excluded: str = "excludeResourceRules") -> "Matcher":
        """From the fields of a webhook (`rules`) or of MatchResources (`resourceRules`)."""
        return cls(
            tuple(spec.get(rules) or ()),
            tuple(spec.get(excluded) or ()),
            spec.get("matchPolicy") == "Exact",
            selectors.from_label_selector(spec.get("namespaceSelector") or {}),
            selectors.from_label_selector(spec.get("objectSelector") or {}),
        )

    def resource_of(self, operation: Operation, name: str | None = None) -> Resource | None:
        """The resource under which an operation matches, itself or an equivalent one; None if it does not.

        Without a name, rules for some names count as matching and exclusions of some names do not.
        """
        candidates: list[Resource] = [operation.resource, *(() if self.exact else equivalents(operation.resource))]
        excluded = [rule for rule in self.excluded if name is not None or not rule.get("resourceNames")]
        if any(_rule_matches(rule, one, operation, name) for rule in excluded for one in candidates):
            return None
        for one in candidates:
            if any(_rule_matches(rule, one, operation, name) for rule in self.rules):
                return one
        return None

    def covers(self, operation: Operation, name: str) -> bool:
        """Whether a binding's rules take an operation in; without rules they take whatever is not excluded."""
        if self.rules:
            return self.resource_of(operation, name) is not None
        candidates = [operation.resource, *(() if self.exact else equivalents(operation.resource))]
        return not any(_rule_matches(rule, one, operation, name) for rule in self.excluded for one in candidates)

    def selects(self, asked: Attributes, store: Store) -> bool:
        """Whether labels of the namespace and of the object (new or old) are the ones that are wanted."""
        if not self.namespaces.everything:
            labels = _namespace_labels(asked, store)
            if labels is not None and not self.namespaces.matches(labels):
                return False
        if self.objects.everything:
            return True
        return any(
            self.objects.matches((one.get("metadata") or {}).get("labels"))
            for one in (asked.object, asked.old)
            if one is not None
        )


def equivalents(resource: Resource) -> list[Resource]:
    """Other resources that show the same objects: other versions, and events under their other group."""
    events = conversion.is_event(resource)
    return [
        one
        for one in registry.all_resources()
        if one is not resource
        and ((one.group, one.plural) == (resource.group, resource.plural) or (events and conversion.is_event(one)))
    ]


def convert(obj: Object | None, source: Resource, target: Resource) -> Object | None:
    """An object of a resource as an equivalent one shows it."""
    if obj is None or source is target:
        return obj
    return conversion.from_storage(target, conversion.to_storage(source, obj))


def namespace_of(asked: Attributes, store: Store) -> Object | None:
    """The namespace an operation happens in, as the cache has it; None for what is in none."""
    if not asked.namespace or asked.key == NAMESPACES:
        return None
    record = store.state.cache.get(Ref(*NAMESPACES, "", asked.namespace))
    return record.object if record is not None else None


def _namespace_labels(asked: Attributes, store: Store) -> Mapping[str, str] | None:
    """Labels that a namespace selector looks at; None for what is outside of namespaces, which it does not concern."""
    if asked.key == NAMESPACES and not asked.subresource and asked.operation in (CREATE, UPDATE):
        return dict(asked.current["metadata"].get("labels") or {})
    if not asked.namespace:
        return None
    record = store.state.cache.get(Ref(*NAMESPACES, "", asked.namespace))
    return {} if record is None else record.object["metadata"].get("labels") or {}


def _rule_matches(rule: Object, resource: Resource, operation: Operation, name: str | None) -> bool:
    operations = rule.get("operations") or ()
    if "*" not in operations and operation.operation not in operations:
        return False
    for field, value in (("apiGroups", resource.group), ("apiVersions", resource.version)):
        wanted = rule.get(field) or ()
        if "*" not in wanted and value not in wanted:
            return False
    names = rule.get("resourceNames") or ()
    if names and name is not None and name not in names:
        return False
    return _scope_matches(rule.get("scope"), resource) and any(
        _pattern_matches(pattern, resource.plural, operation.subresource) for pattern in rule.get("resources") or ()
    )


def _scope_matches(scope: str | None, resource: Resource) -> bool:
    if scope in (None, "*"):
        return True
    return resource.namespaced is (scope == "Namespaced")


def _pattern_matches(pattern: str, plural: str, subresource: str) -> bool:
    wanted, _, part = pattern.partition("/")
    return wanted in ("*", plural) and part in ("*", subresource)
