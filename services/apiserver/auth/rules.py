"""The rules of RBAC: which requests one permits, and whether rules together hold what another grants.

Kubernetes documents the matching at https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.apiserver.protocol import Object
from services.apiserver.routes import Attributes

ALL = "*"
# a selector on the name makes these requests for one object
BY_SELECTOR = ("list", "watch", "deletecollection")
# what a message says of a rule before its verbs
SHOWN = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule made ready for matching; `source` is what was stored."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: frozenset[str]
    source: Object = field(compare=False, repr=False)

    @classmethod
    def of(cls, source: Object) -> "Rule":
        return cls(
            verbs=frozenset(source.get("verbs") or ()),
            groups=frozenset(source.get("apiGroups") or ()),
            resources=frozenset(source.get("resources") or ()),
            names=frozenset(source.get("resourceNames") or ()),
            urls=frozenset(source.get("nonResourceURLs") or ()),
            source=source,
        )

    def permits(self, asked: Attributes) -> bool:
        """Whether the rule allows a request."""
        if not _has(self.verbs, asked.verb):
            return False
        if asked.path:
            return _has_url(self.urls, asked.path)
        resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return (
            _has(self.groups, asked.group)
            and _has_resource(self.resources, resource)
            and (not self.names or name_of(asked) in self.names)
        )

    def covers(self, other: "Rule") -> bool:
        """Whether everything the other rule grants is granted by this one."""
        if not all(_has(self.verbs, verb) for verb in other.verbs):
            return False
        if other.urls:
            return all(_has_url(self.urls, url) for url in other.urls)
        return (
            all(_has(self.groups, group) for group in other.groups)
            and all(_has_resource(self.resources, resource) for resource in other.resources)
            and (not self.names or (bool(other.names) and other.names <= self.names))
        )


def rules_of(role: Object) -> tuple[Rule, ...]:
    """The rules of a Role or ClusterRole."""
    return tuple(Rule.of(rule) for rule in role.get("rules") or ())


def name_of(asked: Attributes) -> str:
    """The object a request is for, by its path or by a selector on its name."""
    if not asked.name and asked.verb in BY_SELECTOR:
        return asked.fields.get("metadata.name", "")
    return asked.name


def missing(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The smallest parts of the wanted rules that no held rule covers."""
    owned = list(held)
    parts = itertools.chain.from_iterable(_parts(rule.source) for rule in wanted)
    return [part for part in map(Rule.of, parts) if not any(rule.covers(part) for rule in owned)]


def described(rules: Iterable[Rule]) -> str:
    """Rules one a line as Kubernetes' messages show them, the verbs of one resource together, sorted."""
    joined: dict[tuple[str, ...], list[str]] = {}
    for rule in rules:
        source = rule.source
        fields = tuple(f"{label}:{quoted(source[key])}" for label, key in SHOWN if source.get(key))
        joined.setdefault(fields, []).extend(source["verbs"])
    lines = {f"{{{', '.join((*fields, f'Verbs:{quoted(verbs)}'))}}}" for fields, verbs in joined.items()}
    return "\n".join(sorted(lines))


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go's %q prints it."""
    return f"[{' '.join(_quote(value) for value in values)}]"


def _parts(source: Object) -> Iterator[Object]:
    for verb in source.get("verbs") or ():
        for url in source.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [url]}
    axes = (source.get("apiGroups") or (), source.get("resources") or (), source.get("verbs") or ())
    for group, resource, verb in itertools.product(*axes):
        part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        names = source.get("resourceNames") or ()
        if not names:
            yield part
        for name in names:
            yield part | {"resourceNames": [name]}


def _has(held: frozenset[str], one: str) -> bool:
    return ALL in held or one in held


def _has_resource(held: frozenset[str], resource: str) -> bool:
    if ALL in held or resource in held:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in held


def _has_url(held: frozenset[str], url: str) -> bool:
    if ALL in held or url in held:
        return True
    return any(one.endswith(ALL) and url.startswith(one.rstrip(ALL)) for one in held)


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
