"""status.typeChecking of ValidatingAdmissionPolicies: what their expressions get wrong about the kinds they match.

An expression that names a field which no matched kind has compiles, for kinds are not known until a request comes; its
author is told here. Kubernetes has a controller for this (validatingadmissionpolicy-status); here it is a part of the
API server, which knows the schemas of custom resources. Several servers may do it side by side: they write the same.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/validating/typechecking.go.
"""

import logging
from collections.abc import Iterator, Mapping

from services.apiserver.admission import environment
from services.apiserver.admission.matching import GROUP
from services.apiserver.protocol import Object, Request
from services.apiserver.routes import Target
from services.apiserver.settling import keep_settled
from services.apiserver.store import Store
from services.apiserver.write import Writer
from shared.errors import NotFound, WherryError
from shared.events.subjects import Ref
from shared.objects import cel, meta, registry
from shared.objects.cel import CompilationError
from shared.objects.cel.types import DYN, Type, object_of
from shared.objects.kind_types import type_of_kind
from shared.objects.registry import Resource
from shared.state.cache import Change

log = logging.getLogger(__name__)

KEY = (GROUP, "validatingadmissionpolicies")
MOST_KINDS = 10


class TypeChecking:
    """Checks policies as they change; `request` is whom the writes are recorded under."""

    def __init__(self, store: Store, writer: Writer, request: Request) -> None:
        self._store = store
        self._writer = writer
        self._request = request
        self._stale: set[str] = set()

    async def run(self) -> None:
        """Follow the changes of policies until cancelled."""
        await keep_settled("type checking of policies", self._store.state.cache, self._concerns, self.settle)

    async def settle(self) -> None:
        """Check what has changed; of what could not be written the reason is raised, and it is tried again."""
        stale, self._stale = self._stale, set()
        try:
            for name in sorted(stale):
                await self._check(name)
        except WherryError:
            self._stale |= stale
            raise

    async def _check(self, name: str) -> None:
        record = self._store.state.cache.get(Ref(*KEY, "", name))
        if record is None or not is_unchecked(record.object):
            return
        resource = registry.by_plural(GROUP, "v1", KEY[1])
        assert resource is not None
        target = Target(resource, "", name, resource.subresource("status"), False)
        try:
            await self._writer.change(self._request, target, lambda found: meta.copy(checked(found.object)), None)
        except NotFound:
            log.debug("policy %s went meanwhile", name)

    def _concerns(self, change: Change) -> bool:
        record = change.record
        if record.ref[:2] != KEY or not is_unchecked(record.object):
            return False
        self._stale.add(record.ref.name)
        return True


def is_unchecked(policy: Object) -> bool:
    """Whether a policy has changed since it was checked."""
    seen = int((policy.get("status") or {}).get("observedGeneration") or 0)
    return not meta.is_deleting(policy) and seen < int(policy["metadata"].get("generation") or 0)


def checked(policy: Object) -> Object:
    """The policy with the outcome of a check."""
    if not is_unchecked(policy):
        return policy
    found = list(warnings(policy))
    status = (policy.get("status") or {}) | {
        "observedGeneration": policy["metadata"]["generation"],
        "typeChecking": {"expressionWarnings": found} if found else {},
    }
    return policy | {"status": status}


def warnings(policy: Object) -> Iterator[Object]:
    """The expressionWarnings: where, and for each kind why."""
    spec = policy.get("spec") or {}
    scopes = [(shown(resource), _declared(spec, resource)) for resource in matched_kinds(spec)]
    for index, one in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = one.get(field)
            if text and (found := [f"{kind}: {why}" for kind, names in scopes if (why := _mistake(text, names))]):
                yield {"fieldRef": f"spec.validations[{index}].{field}", "warning": "\n".join(found)}


def matched_kinds(spec: Object) -> list[Resource]:
    """The kinds that a policy names without wildcards, sorted; no more than ten are looked at."""
    found: dict[tuple[str, str, str], Resource] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions, plurals = (rule.get(key) or () for key in ("apiGroups", "apiVersions", "resources"))
        if any("*" in one for one in (*groups, *versions)) or any("*" in one or "/" in one for one in plurals):
            continue
        for group in groups:
            for version in versions:
                for plural in plurals:
                    if (resource := registry.by_plural(group, version, plural)) is not None:
                        found[group, version, resource.kind] = resource
    return [found[key] for key in sorted(found)][:MOST_KINDS]


def shown(resource: Resource) -> str:
    """A kind as Go prints a GroupVersionKind."""
    return f"{resource.group}/{resource.version}, Kind={resource.kind}"


def _declared(spec: Object, resource: Resource) -> Mapping[str, Type]:
    kind = type_of_kind(resource.schema)
    declared: dict[str, Type] = {**environment.POLICY, "object": kind, "oldObject": kind}
    if param := spec.get("paramKind"):
        params = registry.by_kind(param.get("apiVersion", ""), param.get("kind", ""))
        declared["params"] = type_of_kind(params.schema) if params is not None else DYN
    known: dict[str, Type] = {}
    for variable in spec.get("variables") or ():
        names = declared | {"variables": object_of("kubernetes.variables", dict(known))}
        try:
            known[variable["name"]] = cel.compile(variable.get("expression") or "", names).type
        except CompilationError:
            # whoever uses it may be right all the same
            known[variable["name"]] = DYN
    return declared | {"variables": object_of("kubernetes.variables", known)}


def _mistake(text: str, names: Mapping[str, Type]) -> str:
    try:
        cel.compile(text, names)
    except CompilationError as exc:
        return str(exc)
    return ""
