"""Nobody grants what he does not hold: the check of every write of a role or a binding.

`escalate` on a role and `bind` on the role that a binding refers to lift it (RBAC of Kubernetes, "Privilege escalation
prevention and bootstrapping").
"""

from dataclasses import dataclass

from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.roles import CLUSTER_ROLE, GROUP
from services.apiserver.auth.rules import Rule, described, missing, quoted, rules_of
from services.apiserver.failures import forbidden, not_found
from services.apiserver.protocol import Object
from services.apiserver.routes import Attributes
from shared.identity.users import User
from shared.objects.registry import Resource

ROLES = ("roles", "clusterroles")
BINDINGS = ("rolebindings", "clusterrolebindings")
EVERYTHING = (
    Rule.of({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
    Rule.of({"nonResourceURLs": ["*"], "verbs": ["*"]}),
)
# what the garbage collector changes on the way to a deletion
COLLECTED = ("ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation")


@dataclass(frozen=True, slots=True)
class EscalationGuard:
    """Checks what a caller grants against what the caller holds."""

    authorizer: Authorizer

    def check(self, user: User, resource: Resource, obj: Object, old: Object | None = None) -> None:
        """Forbidden if a written role or binding grants too much; NotFound if a binding's role does not exist."""
        if resource.group != GROUP or user.is_master or (old is not None and _content(old) == _content(obj)):
            return
        if resource.plural in ROLES:
            self._check_role(user, resource, obj, old)
        elif resource.plural in BINDINGS:
            self._check_binding(user, resource, obj)

    def _check_role(self, user: User, resource: Resource, obj: Object, old: Object | None) -> None:
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "")
        # at creation nobody is asked about a name
        name = metadata.get("name", "") if old is not None else ""
        asked = Attributes("escalate", GROUP, resource.version, resource.plural, "", namespace, name)
        if self.authorizer.decide(user, asked).allowed:
            return
        if obj.get("aggregationRule") or (old or {}).get("aggregationRule"):
            lacking = missing(self.authorizer.roles.grants(user).rules(""), EVERYTHING)
            if lacking:
                why = "must have cluster-admin privileges to use an aggregationRule"
                raise forbidden(resource, metadata.get("name", ""), f"{why}: {_refusal(user, lacking)}")
        self._check_rules(user, resource, obj, rules_of(obj))

    def _check_binding(self, user: User, resource: Resource, obj: Object) -> None:
        namespace = obj["metadata"].get("namespace", "")
        ref = obj.get("roleRef") or {}
        kind, name = ref.get("kind", ""), ref.get("name", "")
        plural = "clusterroles" if kind == CLUSTER_ROLE else "roles"
        asked = Attributes("bind", GROUP, resource.version, plural, "", namespace, name)
        if self.authorizer.decide(user, asked).allowed:
            return
        rules = self.authorizer.roles.rules(kind, namespace, name)
        if rules is None:
            raise not_found(resource, name)
        self._check_rules(user, resource, obj, rules)

    def _check_rules(self, user: User, resource: Resource, obj: Object, rules: tuple[Rule, ...]) -> None:
        metadata = obj["metadata"]
        held = self.authorizer.roles.grants(user).rules(metadata.get("namespace", ""))
        lacking = missing(held, rules)
        if lacking:
            raise forbidden(resource, metadata.get("name", ""), _refusal(user, lacking))


def _refusal(user: User, lacking: list[Rule]) -> str:
    return (
        f'user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently '
        f"held:\n{described(lacking)}"
    )


def _content(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in COLLECTED}
    return obj | {"metadata": metadata}
