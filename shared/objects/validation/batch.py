"""Jobs: counts, restart policies, failure policies, and what stays fixed once a job exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import meta, selectors
from shared.objects.validation import indexed, placement, pods
from shared.objects.validation.causes import Cause, invalid, not_negative, one_of, required, unsupported

Object = Mapping[str, Any]

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_SUSPENDED_CHANGES = ("nodeSelector", "tolerations", "affinity", "schedulingGates")


def job(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    return job_spec(spec) + _selector(obj, spec)


def job_spec(spec: Object) -> list[Cause]:
    """Complaints with paths from `spec` on, about all but the selector, which a template does not have."""
    found: list[Cause] = []
    for key in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        found += not_negative(f"spec.{key}", spec.get(key))
    found += _completion_mode(spec)
    found += indexed.success_policy(spec)
    found += _replacement(spec)
    found += _failure_policy(spec)
    found += _template(spec)
    return found


def _completion_mode(spec: Object) -> list[Cause]:
    mode = spec.get("completionMode")
    found = one_of("spec.completionMode", mode, ("NonIndexed", "Indexed")) if mode is not None else []
    if mode == "Indexed":
        found += indexed.limits(spec)
    if mode != "Indexed":
        found += [
            invalid(f"spec.{key}", spec[key], "requires indexed completion mode")
            for key in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(key) is not None
        ]
    return found


def _replacement(spec: Object) -> list[Cause]:
    """KEP-3939: with a failure policy, pods are replaced only once they have failed."""
    policy, at = spec.get("podReplacementPolicy"), "spec.podReplacementPolicy"
    if policy is None:
        return []
    return one_of(at, policy, ("Failed",) if spec.get("podFailurePolicy") else ("Failed", "TerminatingOrFailed"))


def _selector(obj: Object, spec: Object) -> list[Cause]:
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None:
        found = [required("spec.selector")]
    else:
        found = placement.label_selector("spec.selector", selector)
        uid = (obj.get("metadata") or {}).get("uid", "")
        generated = {"matchLabels": {_UID_LABELS[0]: uid}}
        legacy = {"matchLabels": {_UID_LABELS[1]: uid}}
        if not spec.get("manualSelector") and selector not in (generated, legacy):
            found.append(invalid("spec.selector", selector, "`selector` not auto-generated"))
    readable = not any(one.field.startswith("spec.selector.") for one in found)
    if readable and not selectors.from_label_selector(selector).matches(labels):
        detail = "`selector` does not match template `labels`"
        shown = dict(sorted(labels.items())) if labels else None
        found.append(invalid("spec.template.metadata.labels", shown, detail))
    return found


def _template(spec: Object) -> list[Cause]:
    template = spec.get("template") or {}
    found = pods.template("spec.template", template)
    policy = (template.get("spec") or {}).get("restartPolicy", "")
    at = "spec.template.spec.restartPolicy"
    if policy in ("", "Always"):
        found.append(required(at, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(unsupported(at, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") and policy != "Never":
        found.append(invalid(at, policy, 'only "Never" is supported when podFailurePolicy is specified'))
    return found


def _failure_policy(spec: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        at = f"spec.podFailurePolicy.rules[{index}]"
        found += one_of(f"{at}.action", rule.get("action", ""), _ACTIONS)
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            found.append(invalid(f"{at}.action", "FailIndex", "requires the backoffLimitPerIndex to be set"))
        given = [key for key in ("onExitCodes", "onPodConditions") if rule.get(key)]
        if len(given) != 1:
            many = "specifying both OnExitCodes and OnPodConditions is not supported"
            none = "specifying one of OnExitCodes and OnPodConditions is required"
            found.append(Cause("FieldValueInvalid", f"Invalid value: {many if given else none}", at))
        codes = rule.get("onExitCodes")
        if codes:
            found += one_of(f"{at}.onExitCodes.operator", codes.get("operator", ""), ("In", "NotIn"))
            if not codes.get("values"):
                found.append(invalid(f"{at}.onExitCodes.values", [], "at least one value is required"))
    return found


def update(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    template, had = spec.get("template"), before.get("template")
    if template != had and _without_placement(template, before, old) != _without_placement(had, before, old):
        found.append(invalid("spec.template", template, "field is immutable"))
    completions, was = spec.get("completions"), before.get("completions")
    elastic = spec.get("completionMode") == "Indexed" and completions == spec.get("parallelism")
    if completions != was and not (elastic and was == before.get("parallelism")):
        found.append(invalid("spec.completions", completions, "field is immutable"))
    return found


def _without_placement(template: Any, before: Object, old: Object) -> Any:
    """A job that is suspended and never started may still be told where to run (KEP-2926)."""
    started = (old.get("status") or {}).get("startTime") is not None
    if not before.get("suspend") or started:
        return template
    made = meta.copy(template or {})
    for key in _SUSPENDED_CHANGES:
        (made.get("spec") or {}).pop(key, None)
    for key in ("labels", "annotations"):
        (made.get("metadata") or {}).pop(key, None)
    return made
