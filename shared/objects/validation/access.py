"""Roles and bindings, certificate requests, and the priority of API requests."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from shared.objects import schema
from shared.objects.validation import names, placement
from shared.objects.validation.causes import Cause, duplicate, invalid, one_of, required, unsupported

Object = Mapping[str, Any]

GROUP = "rbac.authorization.k8s.io"
MIN_CERTIFICATE_SECONDS = 600

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_RESERVED_LEVELS = ("exempt", "catch-all")


def role(obj: Object) -> list[Cause]:
    return _rules(obj, namespaced=True)


def cluster_role(obj: Object) -> list[Cause]:
    found = _rules(obj, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is None:
        return found
    at = "aggregationRule.clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors") or ()
    if not selectors:
        found.append(required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
    for index, selector in enumerate(selectors):
        found += placement.label_selector(f"{at}[{index}]", selector)
    return found


def _rules(obj: Object, *, namespaced: bool) -> list[Cause]:
    found: list[Cause] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        at = f"rules[{index}]"
        urls = rule.get("nonResourceURLs") or ()
        if not rule.get("verbs"):
            found.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if urls:
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                found.append(invalid(f"{at}.nonResourceURLs", list(urls), detail))
            if any(rule.get(key) for key in ("apiGroups", "resources", "resourceNames")):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(invalid(f"{at}.nonResourceURLs", list(urls), detail))
            continue
        if not rule.get("apiGroups"):
            found.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            found.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return found


def role_binding(obj: Object) -> list[Cause]:
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def cluster_role_binding(obj: Object) -> list[Cause]:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, kinds: tuple[str, ...], *, namespaced: bool) -> list[Cause]:
    reference = obj.get("roleRef") or {}
    name = reference.get("name", "")
    found = one_of("roleRef.apiGroup", reference.get("apiGroup", ""), (GROUP,))
    found += one_of("roleRef.kind", reference.get("kind", ""), kinds)
    if not name:
        found.append(required("roleRef.name"))
    else:
        found += [invalid("roleRef.name", name, one) for one in names.path_segment(name)]
    for index, subject in enumerate(obj.get("subjects") or ()):
        found += _subject(f"subjects[{index}]", subject, namespaced=namespaced)
    return found


def _subject(at: str, subject: Object, *, namespaced: bool) -> list[Cause]:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    found: list[Cause] = [] if name else [required(f"{at}.name")]
    if kind == "ServiceAccount":
        if name:
            found += [invalid(f"{at}.name", name, one) for one in names.subdomain(name)]
        if group:
            found.append(unsupported(f"{at}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(required(f"{at}.namespace"))
        return found
    if kind in ("User", "Group"):
        return found + one_of(f"{at}.apiGroup", group, (GROUP,))
    return [*found, unsupported(f"{at}.kind", kind, ("ServiceAccount", "User", "Group"))]


def certificate_request(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _request("spec.request", spec.get("request", ""))
    usages = spec.get("usages") or ()
    known = schema.struct("certificates/v1.CertificateSigningRequestSpec").fields["usages"].enum
    if not usages:
        found.append(required("spec.usages"))
    for index, usage in enumerate(usages):
        found += one_of(f"spec.usages[{index}]", usage, known)
        if usage in usages[:index]:
            found.append(duplicate(f"spec.usages[{index}]", usage))
    found += _signer("spec.signerName", spec.get("signerName", ""))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < MIN_CERTIFICATE_SECONDS:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(invalid("spec.expirationSeconds", seconds, detail))
    return found


def _request(at: str, encoded: str) -> list[Cause]:
    try:
        decoded = base64.b64decode(encoded)
        block = _PEM.search(decoded)
    except (binascii.Error, ValueError):
        block = None
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        return [invalid(at, encoded, "PEM block type must be CERTIFICATE REQUEST")]
    # six megabytes, and requests for certificates are rare
    from cryptography import x509

    try:
        x509.load_pem_x509_csr(decoded)
    except ValueError as exc:
        return [invalid(at, encoded, f"malformed certificate request: {exc}")]
    return []


def _signer(at: str, name: str) -> list[Cause]:
    if not name:
        return [required(at)]
    domain, slash, path = name.partition("/")
    form = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
    if not slash or "/" in path or "." not in domain:
        return [invalid(at, name, form)]
    found = [invalid(at, name, f'validating label "{domain}": {one}') for one in names.subdomain(domain)]
    if path != "*":
        found += [invalid(at, path, one) for one in names.subdomain(path)]
    if name == "kubernetes.io/legacy-unknown":
        found.append(invalid(at, name, "the legacy signerName is not allowed via this API version"))
    return found


def flow_schema(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    precedence = spec.get("matchingPrecedence", 0)
    found: list[Cause] = []
    if precedence < 1:
        found.append(invalid("spec.matchingPrecedence", precedence, "must be a positive value"))
    if precedence > 10000:
        found.append(invalid("spec.matchingPrecedence", precedence, "must not be greater than 10000"))
    method = spec.get("distinguisherMethod")
    if method is not None:
        found += one_of("spec.distinguisherMethod.type", method.get("type", ""), ("ByNamespace", "ByUser"))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    at = "spec.priorityLevelConfiguration.name"
    found += [invalid(at, level, one) for one in names.subdomain(level)] if level else [required(at)]
    for index, rule in enumerate(spec.get("rules") or ()):
        found += _flow_rule(f"spec.rules[{index}]", rule)
    return found


def _flow_rule(at: str, rule: Object) -> list[Cause]:
    found: list[Cause] = []
    if not rule.get("subjects"):
        found.append(required(f"{at}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.get("subjects") or ()):
        kind = subject.get("kind", "")
        field = f"{at}.subjects[{index}]"
        found += one_of(f"{field}.kind", kind, ("Group", "ServiceAccount", "User"))
        entry = kind[:1].lower() + kind[1:]
        if entry in ("group", "serviceAccount", "user") and not subject.get(entry):
            found.append(required(f"{field}.{entry}", f"{entry} is required when subject kind is '{kind}'"))
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        found.append(required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    return found


def priority_level(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    kind, limited = spec.get("type", ""), spec.get("limited")
    found: list[Cause] = []
    if kind not in ("Exempt", "Limited"):
        return [unsupported("spec.type", kind, ("Exempt", "Limited"))]
    name = (obj.get("metadata") or {}).get("name", "")
    if kind == "Exempt":
        if limited is not None:
            found.append(
                Cause("FieldValueForbidden", "Forbidden: must be nil if the type is not Limited", "spec.limited")
            )
        if name != _RESERVED_LEVELS[0]:
            found.append(invalid("spec.type", kind, "must be 'Limited' if `name` is not 'exempt'"))
        return found
    if limited is None:
        return [required("spec.limited", "must not be empty when type is Limited")]
    at = "spec.limited"
    shares = limited.get("nominalConcurrencyShares")
    if shares is not None and shares < 0:
        found.append(invalid(f"{at}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    response = limited.get("limitResponse") or {}
    found += one_of(f"{at}.limitResponse.type", response.get("type", ""), ("Queue", "Reject"))
    queuing = response.get("queuing")
    if response.get("type") == "Queue" and queuing is None:
        found.append(
            required(f"{at}.limitResponse.queuing", "must not be empty if limited.limitResponse.type is Queue")
        )
    for key in ("queueLengthLimit", "queues", "handSize"):
        if queuing is not None and queuing.get(key, 0) <= 0:
            found.append(invalid(f"{at}.limitResponse.queuing.{key}", queuing.get(key, 0), "must be positive"))
    return found
