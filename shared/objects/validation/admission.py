"""Webhooks and policies that judge or change objects, and the definitions that extend the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from shared.objects.validation import names, placement
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, one_of, required, unsupported

Object = Mapping[str, Any]

MAX_TIMEOUT_SECONDS = 30
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")

_REPEATED = (
    "must not contain both Deny and Warn (repeating the same validation failure information in the API response and "
    "headers serves no purpose)"
)


def validating_webhooks(obj: Object) -> list[Cause]:
    return _webhooks(obj, mutating=False)


def mutating_webhooks(obj: Object) -> list[Cause]:
    return _webhooks(obj, mutating=True)


def _webhooks(obj: Object, *, mutating: bool) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        at = f"webhooks[{index}]"
        name = hook.get("name", "")
        found += _webhook(at, hook)
        if name in seen:
            found.append(duplicate(f"{at}.name", name))
        seen.add(name)
        if mutating:
            found += one_of(f"{at}.reinvocationPolicy", hook.get("reinvocationPolicy"), ("IfNeeded", "Never"))
    return found


def _webhook(at: str, hook: Object) -> list[Cause]:
    name = hook.get("name", "")
    found: list[Cause] = []
    if not name:
        found.append(required(f"{at}.name"))
    else:
        found += [invalid(f"{at}.name", name, one) for one in names.subdomain(name)]
        if name.count(".") < 2:
            found.append(
                invalid(f"{at}.name", name, "should be a domain with at least three segments separated by dots")
            )
    for index, rule in enumerate(hook.get("rules") or ()):
        found += _rule(f"{at}.rules[{index}]", rule)
    found += one_of(f"{at}.failurePolicy", hook.get("failurePolicy"), ("Fail", "Ignore"))
    found += one_of(f"{at}.matchPolicy", hook.get("matchPolicy"), ("Equivalent", "Exact"))
    effects = hook.get("sideEffects")
    if effects is None:
        found.append(required(f"{at}.sideEffects", "must specify one of None, NoneOnDryRun"))
    else:
        found += one_of(f"{at}.sideEffects", effects, ("None", "NoneOnDryRun"))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        detail = f"the timeout value must be between 1 and {MAX_TIMEOUT_SECONDS} seconds"
        found.append(invalid(f"{at}.timeoutSeconds", seconds, detail))
    versions = hook.get("admissionReviewVersions") or ()
    if not versions:
        found.append(required(f"{at}.admissionReviewVersions", "must specify one of v1, v1beta1"))
    elif not {"v1", "v1beta1"} & set(versions):
        detail = "must include at least one of v1, v1beta1"
        found.append(invalid(f"{at}.admissionReviewVersions", list(versions), detail))
    found += placement.label_selector(f"{at}.namespaceSelector", hook.get("namespaceSelector"))
    found += placement.label_selector(f"{at}.objectSelector", hook.get("objectSelector"))
    found += _client(f"{at}.clientConfig", hook.get("clientConfig") or {})
    return found + _conditions(f"{at}.matchConditions", hook.get("matchConditions") or ())


def _client(at: str, client: Object) -> list[Cause]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(at, "exactly one of url or service is required")]
    if service is not None:
        found = [
            required(f"{at}.service.{key}", f"service {key} is required")
            for key in ("name", "namespace")
            if not service.get(key)
        ]
        port = service.get("port", 443)
        return found + [
            invalid(f"{at}.service.port", port, f"port is not valid: {one}") for one in names.port_number(port)
        ]
    form = "desired format: https://host[/path]"
    parts = urlsplit(url or "")
    found = []
    if parts.scheme != "https":
        found.append(invalid(f"{at}.url", parts.scheme, f"'https' is the only allowed URL scheme; {form}"))
    if not parts.netloc:
        found.append(invalid(f"{at}.url", parts.netloc, f"host must be specified; {form}"))
    for value, what in (
        (parts.username, "user information"),
        (parts.fragment, "fragments"),
        (parts.query, "query parameters"),
    ):
        if value:
            found.append(invalid(f"{at}.url", value, f"{what} are not permitted in the URL"))
    return found


def _rule(at: str, rule: Object) -> list[Cause]:
    found = [
        required(f"{at}.{key}") for key in ("operations", "apiGroups", "apiVersions", "resources") if not rule.get(key)
    ]
    for index, one in enumerate(rule.get("operations") or ()):
        found += one_of(f"{at}.operations[{index}]", one, OPERATIONS)
    for key in ("operations", "apiGroups", "apiVersions"):
        given = rule.get(key) or ()
        if "*" in given and len(given) > 1:
            detail = "if '*' is present, must not specify other values"
            if key == "operations":
                detail = "if '*' is present, must not specify other operations"
            found.append(invalid(f"{at}.{key}", list(given), detail))
    if rule.get("scope") is not None:
        found += one_of(f"{at}.scope", rule["scope"], ("*", "Cluster", "Namespaced"))
    return found


def _conditions(at: str, conditions: Any) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, one in enumerate(conditions):
        name = one.get("name", "")
        if not name:
            found.append(required(f"{at}[{index}].name"))
        else:
            found += [invalid(f"{at}[{index}].name", name, text) for text in names.qualified_name(name)]
        if name in seen:
            found.append(duplicate(f"{at}[{index}].name", name))
        seen.add(name)
        if not (one.get("expression") or "").strip():
            found.append(required(f"{at}[{index}].expression"))
    return found


def validating_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _policy(spec)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        for key in ("validations", "auditAnnotations"):
            found.append(required(f"spec.{key}", "validations or auditAnnotations must be non-empty"))
    for index, one in enumerate(spec.get("validations") or ()):
        at = f"spec.validations[{index}]"
        if not (one.get("expression") or "").strip():
            found.append(required(f"{at}.expression", "expression is not specified"))
        reason = one.get("reason")
        if reason is not None:
            reasons = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
            found += one_of(f"{at}.reason", reason, reasons)
    for index, one in enumerate(spec.get("auditAnnotations") or ()):
        at = f"spec.auditAnnotations[{index}]"
        found += [required(f"{at}.{key}") for key in ("key", "valueExpression") if not (one.get(key) or "").strip()]
    return found


def mutating_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _policy(spec)
    if not spec.get("mutations"):
        found.append(required("spec.mutations", "mutations must contain at least one item"))
    for index, one in enumerate(spec.get("mutations") or ()):
        at = f"spec.mutations[{index}]"
        kind = one.get("patchType", "")
        if kind not in ("ApplyConfiguration", "JSONPatch"):
            found.append(unsupported(f"{at}.patchType", kind, ("ApplyConfiguration", "JSONPatch")))
            continue
        entry = "jsonPatch" if kind == "JSONPatch" else "applyConfiguration"
        if one.get(entry) is None:
            found.append(required(f"{at}.{entry}", f"must be specified when patchType is {kind}"))
        elif not (one[entry].get("expression") or "").strip():
            found.append(required(f"{at}.{entry}.expression", "expression is not specified"))
    policy = spec.get("reinvocationPolicy", "")
    if not policy:
        return [*found, required("spec.reinvocationPolicy")]
    return found + one_of("spec.reinvocationPolicy", policy, ("IfNeeded", "Never"))


def _policy(spec: Object) -> list[Cause]:
    found: list[Cause] = []
    if spec.get("failurePolicy") is None:
        found.append(required("spec.failurePolicy"))
    else:
        found += one_of("spec.failurePolicy", spec["failurePolicy"], ("Fail", "Ignore"))
    kind = spec.get("paramKind")
    if kind is not None:
        found += [required(f"spec.paramKind.{key}") for key in ("apiVersion", "kind") if not kind.get(key)]
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(required("spec.matchConstraints"))
    else:
        found += _match("spec.matchConstraints", constraints)
        if not constraints.get("resourceRules"):
            found.append(required("spec.matchConstraints.resourceRules"))
    return found + _conditions("spec.matchConditions", spec.get("matchConditions") or ())


def _match(at: str, match: Object) -> list[Cause]:
    found = placement.label_selector(f"{at}.namespaceSelector", match.get("namespaceSelector"))
    found += placement.label_selector(f"{at}.objectSelector", match.get("objectSelector"))
    if match.get("matchPolicy") is not None:
        found += one_of(f"{at}.matchPolicy", match["matchPolicy"], ("Equivalent", "Exact"))
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(key) or ()):
            found += _rule(f"{at}.{key}[{index}]", rule)
    return found


def validating_binding(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    actions = spec.get("validationActions") or ()
    found = _binding(spec)
    if not actions:
        found.append(required("spec.validationActions", "at least one validation action is required"))
    for index, action in enumerate(actions):
        found += one_of(f"spec.validationActions[{index}]", action, ("Audit", "Deny", "Warn"))
        if action in actions[:index]:
            found.append(duplicate(f"spec.validationActions[{index}]", action))
    if {"Deny", "Warn"} <= set(actions):
        found.append(invalid("spec.validationActions", list(actions), _REPEATED))
    return found


def mutating_binding(obj: Object) -> list[Cause]:
    return _binding(obj.get("spec") or {})


def _binding(spec: Object) -> list[Cause]:
    name, reference = spec.get("policyName", ""), spec.get("paramRef")
    found = [invalid("spec.policyName", name, one) for one in names.subdomain(name)] if name else []
    if not name:
        found.append(required("spec.policyName"))
    if reference is not None:
        if bool(reference.get("name")) == (reference.get("selector") is not None):
            at = "spec.paramRef.name"
            both = "name and selector are mutually exclusive"
            found.append(
                forbidden(at, both)
                if reference.get("name")
                else required(at, "one of name or selector must be specified")
            )
        if reference.get("parameterNotFoundAction") is None:
            found.append(required("spec.paramRef.parameterNotFoundAction"))
        else:
            at = "spec.paramRef.parameterNotFoundAction"
            found += one_of(at, reference["parameterNotFoundAction"], ("Allow", "Deny"))
    if spec.get("matchResources") is not None:
        found += _match("spec.matchResources", spec["matchResources"])
    return found


def api_service(obj: Object) -> list[Cause]:
    spec, name = obj.get("spec") or {}, (obj.get("metadata") or {}).get("name", "")
    group, version, service = spec.get("group", ""), spec.get("version", ""), spec.get("service")
    found: list[Cause] = []
    if name != f"{version}.{group}":
        detail = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
        found.append(invalid("metadata.name", name, detail))
    for key, limit in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(key, 0)
        if not 0 < value <= limit:
            found.append(invalid(f"spec.{key}", value, f"must be positive and less than {limit}"))
    if service is None:
        if spec.get("insecureSkipTLSVerify"):
            found.append(invalid("spec.insecureSkipTLSVerify", True, "must be false for local APIServices"))
        if spec.get("caBundle"):
            found.append(invalid("spec.caBundle", spec["caBundle"], "must be empty for local APIServices"))
        return found
    return found + [required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
