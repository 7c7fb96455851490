"""The audit policy: a file of rules, the first of which that fits a request says how much of it is recorded.

Source: k8s.io/apiserver, apis/audit/v1 types, apis/audit/validation, audit/policy (how rules match).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.apiserver.routes import Attributes
from shared.errors import ApiError, SettingsError
from shared.identity.users import User
from shared.objects import json

NONE, METADATA, REQUEST, REQUEST_RESPONSE = "None", "Metadata", "Request", "RequestResponse"
LEVELS = (NONE, METADATA, REQUEST, REQUEST_RESPONSE)
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)
VERSIONS = ("audit.k8s.io/v1",)

_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")
_RULE_FIELDS = {*_LISTS, "level", "resources", "omitManagedFields"}
_POLICY_FIELDS = {"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"}


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of one API group; no `resources` means all, no `names` any."""

    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def fits(self, asked: Attributes) -> bool:
        if self.group != asked.group:
            return False
        if not self.resources:
            return True
        if self.names and asked.name not in self.names:
            return False
        combined = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return any(
            one in (combined, "*")
            or (one.startswith("*/") and bool(asked.subresource) and one[2:] == asked.subresource)
            or (one.endswith("/*") and one[:-2] == asked.resource)
            for one in self.resources
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """How much of a request is recorded, at which stages."""

    level: str = NONE
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Empty lists fit everything."""

    decision: Decision
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[Resources, ...]
    urls: tuple[str, ...]

    def fits(self, user: User, asked: Attributes) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if asked.path or (self.namespaces and asked.namespace not in self.namespaces):
                return False
            return not self.resources or any(one.fits(asked) for one in self.resources)
        return not self.urls or (bool(asked.path) and any(_is_below(asked.path, url) for url in self.urls))


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules, in their order."""

    rules: tuple[Rule, ...]

    def decide(self, user: User, asked: Attributes) -> Decision:
        """What is recorded of a request: nothing if no rule fits it."""
        return next((rule.decision for rule in self.rules if rule.fits(user, asked)), Decision())


def load(path: Path) -> Policy:
    """The policy in a file of YAML or JSON. SettingsError names the file and every field that is wrong."""
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise SettingsError(f"audit policy {path} cannot be read: {exc.strerror}") from exc
    try:
        found, repeated = json.decode(text, "application/yaml")
    except ApiError as exc:
        raise SettingsError(f"audit policy {path}: {exc.message}") from exc
    if problems := [*repeated, *_problems(found)]:
        raise SettingsError(f"audit policy {path}: {'; '.join(problems)}")
    return parse(found)


def parse(policy: Mapping[str, Any]) -> Policy:
    """A policy without problems."""
    omitted = frozenset(policy.get("omitStages") or ())
    lean = bool(policy.get("omitManagedFields"))
    return Policy(tuple(_rule(one, omitted, lean) for one in policy["rules"]))


def _rule(rule: Mapping[str, Any], omitted: frozenset[str], lean: bool) -> Rule:
    own = rule.get("omitManagedFields")
    decision = Decision(
        rule["level"], omitted | frozenset(rule.get("omitStages") or ()), lean if own is None else bool(own)
    )
    resources = tuple(
        Resources(one.get("group") or "", tuple(one.get("resources") or ()), tuple(one.get("resourceNames") or ()))
        for one in rule.get("resources") or ()
    )
    users, groups, verbs, namespaces = (
        frozenset(rule.get(key) or ()) for key in ("users", "userGroups", "verbs", "namespaces")
    )
    return Rule(decision, users, groups, verbs, namespaces, resources, tuple(rule.get("nonResourceURLs") or ()))


def _problems(policy: Mapping[str, Any]) -> Iterator[str]:
    if policy.get("kind") != "Policy" or policy.get("apiVersion") not in VERSIONS:
        yield f"it must be of kind Policy and apiVersion {VERSIONS[0]}"
        return
    yield from (f"unknown field {key}" for key in policy if key not in _POLICY_FIELDS)
    yield from _stage_problems("omitStages", policy.get("omitStages"))
    rules = policy.get("rules")
    if not isinstance(rules, list) or not rules:
        yield "rules: there must be at least one"
        return
    for index, rule in enumerate(rules):
        if isinstance(rule, dict):
            yield from _rule_problems(f"rules[{index}]", rule)
        else:
            yield f"rules[{index}] must be an object"


def _rule_problems(at: str, rule: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"unknown field {at}.{key}" for key in rule if key not in _RULE_FIELDS)
    if rule.get("level") not in LEVELS:
        yield f'{at}.level: Unsupported value: "{rule.get("level", "")}": supported values: {", ".join(LEVELS)}'
    for key in _LISTS:
        if not _is_texts(rule.get(key)):
            yield f"{at}.{key} must be a list of texts"
            return
    if not isinstance(rule.get("omitManagedFields"), bool | None):
        yield f"{at}.omitManagedFields must be true or false"
    yield from _stage_problems(f"{at}.omitStages", rule.get("omitStages"))
    for index, url in enumerate(rule.get("nonResourceURLs") or ()):
        if url != "*" and not url.startswith("/"):
            yield f'{at}.nonResourceURLs[{index}]: "{url}" must begin with a "/" character'
        if "*" in url[:-1]:
            yield f'{at}.nonResourceURLs[{index}]: "{url}": wildcards "*" must be the last character of the path'
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        yield f"{at}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
    resources = rule.get("resources") or ()
    if not isinstance(resources, list | tuple):
        yield f"{at}.resources must be a list"
        return
    for index, group in enumerate(resources):
        yield from _group_problems(f"{at}.resources[{index}]", group)


def _group_problems(at: str, group: Any) -> Iterator[str]:
    if not isinstance(group, dict):
        yield f"{at} must be an object"
        return
    yield from (f"unknown field {at}.{key}" for key in group if key not in ("group", "resources", "resourceNames"))
    if not isinstance(group.get("group") or "", str) or "/" in (group.get("group") or ""):
        yield f"{at}.group must be the name of an API group, without its version"
    if not _is_texts(group.get("resources")) or not _is_texts(group.get("resourceNames")):
        yield f"{at}.resources and resourceNames must be lists of texts"
    elif group.get("resourceNames") and not group.get("resources"):
        yield f"{at}.resourceNames: using resourceNames requires at least one resource"


def _stage_problems(at: str, stages: Any) -> Iterator[str]:
    for index, stage in enumerate(stages or ()):
        if stage not in STAGES:
            yield f'{at}[{index}]: Unsupported value: "{stage}": supported values: {", ".join(STAGES)}'


def _is_texts(value: Any) -> bool:
    items: Iterable[Any] = value or ()
    return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in items))


def _is_below(path: str, url: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url[:-1]))
