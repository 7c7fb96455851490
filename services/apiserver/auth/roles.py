"""Roles and their bindings, kept ready for decisions from the changes of the state cache.

What a caller holds is put together once for his name and groups, and forgotten when one of the roles or bindings it
came from changes; the answers to what he asked before are remembered with it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.apiserver.auth.rules import Rule, name_of, rules_of
from services.apiserver.protocol import Object
from services.apiserver.routes import Attributes
from shared.identity.users import User, service_account_name
from shared.state.cache import Cache, Change

GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLE = "ClusterRole"
REMEMBERED_CALLERS = 1024
REMEMBERED_ANSWERS = 1024

Place = tuple[str, str]
Subject = tuple[str, str]
# one namespace's role, or a cluster role with an empty namespace
RoleKey = Place


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action is allowed, and why."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """A RoleBinding (namespace set) or ClusterRoleBinding: the role, and the subjects with how messages show them."""

    namespace: str
    name: str
    role_kind: str
    role: RoleKey
    subjects: tuple[tuple[Subject, str], ...]

    @classmethod
    def of(cls, namespace: str, name: str, obj: Object) -> "Binding":
        ref = obj.get("roleRef") or {}
        kind = ref.get("kind", "")
        place = "" if kind == CLUSTER_ROLE else namespace
        subjects = tuple(_subject(one, namespace) for one in obj.get("subjects") or ())
        return cls(namespace, name, kind, (place, ref.get("name", "")), subjects)

    def reason(self, held: frozenset[Subject]) -> str:
        """Why this binding allows something, as Kubernetes words it."""
        shown = next(text for subject, text in self.subjects if subject in held)
        kind, name = (
            ("RoleBinding", f"{self.name}/{self.namespace}")
            if self.namespace
            else (
                "ClusterRoleBinding",
                self.name,
            )
        )
        return f'RBAC: allowed by {kind} "{name}" of {self.role_kind} "{self.role[1]}" to {shown}'


@dataclass(slots=True)
class Grants:
    """All that one caller holds: the rules of each binding, or None where its role is missing."""

    held: frozenset[Subject]
    bindings: list[tuple[Binding, tuple[Rule, ...] | None]]
    answers: dict[tuple[str, ...], Decision] = field(default_factory=dict)

    def decide(self, asked: Attributes) -> Decision:
        key = (asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, name_of(asked), asked.path)
        decision = self.answers.get(key)
        if decision is None:
            if len(self.answers) >= REMEMBERED_ANSWERS:
                self.answers.clear()
            decision = self.answers[key] = self._decide(asked)
        return decision

    def rules(self, namespace: str) -> Iterator[Rule]:
        """The rules that hold in a namespace, or the cluster-wide ones for an empty one."""
        for _, rules in self._in(namespace):
            yield from rules or ()

    def problems(self, namespace: str) -> str:
        """The roles that bindings name and that do not exist; empty if there are none."""
        lost = [binding for binding, rules in self._in(namespace) if rules is None]
        texts = [f'{one.role_kind.lower()}.{GROUP} "{one.role[1]}" not found' for one in lost]
        return texts[0] if len(texts) == 1 else f"[{', '.join(dict.fromkeys(texts))}]" if texts else ""

    def _decide(self, asked: Attributes) -> Decision:
        for binding, rules in self._in(asked.namespace):
            if any(rule.permits(asked) for rule in rules or ()):
                return Decision(True, binding.reason(self.held))
        problems = self.problems(asked.namespace)
        return Decision(False, f"RBAC: {problems}" if problems else "")

    def _in(self, namespace: str) -> Iterator[tuple[Binding, tuple[Rule, ...] | None]]:
        return ((binding, rules) for binding, rules in self.bindings if binding.namespace in ("", namespace))


class RoleIndex:
    """Role -> rules and subject -> bindings, current with the cache."""

    def __init__(self, cache: Cache) -> None:
        self._roles: dict[RoleKey, tuple[Rule, ...]] = {}
        self._bindings: dict[Place, Binding] = {}
        self._by_subject: dict[Subject, set[Place]] = {}
        self._callers: dict[tuple[str, tuple[str, ...]], Grants] = {}
        cache.on_change(self._on_change)

    def grants(self, user: User) -> Grants:
        """What a user holds by himself and by his groups."""
        key = (user.name, user.groups)
        found = self._callers.get(key)
        if found is None:
            if len(self._callers) >= REMEMBERED_CALLERS:
                self._callers.clear()
            found = self._callers[key] = self._collect(user)
        return found

    def rules(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a Role or ClusterRole; None if there is no such role."""
        return self._roles.get(("" if kind == CLUSTER_ROLE else namespace, name))

    def _collect(self, user: User) -> Grants:
        held = frozenset({("User", user.name), *(("Group", group) for group in user.groups)})
        places: set[Place] = set()
        for subject in held:
            places |= self._by_subject.get(subject, set())
        bindings = [self._bindings[place] for place in sorted(places)]
        return Grants(held, [(one, self._roles.get(one.role)) for one in bindings])

    def _on_change(self, change: Change) -> None:
        group, plural, namespace, name = change.record.ref
        if group != GROUP:
            return
        obj = change.record.object if change.type != "DELETED" else None
        place = (namespace, name)
        if plural in ("roles", "clusterroles"):
            self._put_role(place, obj)
        elif plural in ("rolebindings", "clusterrolebindings"):
            self._put_binding(place, obj)

    def _put_role(self, key: RoleKey, obj: Object | None) -> None:
        self._roles.pop(key, None)
        if obj is not None:
            self._roles[key] = rules_of(obj)
        affected = [
            caller for caller, grants in self._callers.items() if any(one.role == key for one, _ in grants.bindings)
        ]
        self._forget(affected)

    def _put_binding(self, place: Place, obj: Object | None) -> None:
        before = self._bindings.pop(place, None)
        subjects = {subject for subject, _ in before.subjects} if before is not None else set()
        for subject in subjects:
            self._by_subject[subject].discard(place)
            if not self._by_subject[subject]:
                del self._by_subject[subject]
        if obj is not None:
            binding = self._bindings[place] = Binding.of(*place, obj)
            for subject, _ in binding.subjects:
                self._by_subject.setdefault(subject, set()).add(place)
                subjects.add(subject)
        self._forget([caller for caller, grants in self._callers.items() if grants.held & subjects])

    def _forget(self, callers: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        for caller in callers:
            del self._callers[caller]


def _subject(subject: Object, namespace: str) -> tuple[Subject, str]:
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if kind == "ServiceAccount":
        place = subject.get("namespace") or namespace
        return ("User", service_account_name(place, name)), f'ServiceAccount "{name}/{place}"'
    return (kind, name), f'{kind} "{name}"'
