"""Deployments, ReplicaSets, DaemonSets, ReplicationControllers, pod templates and controller revisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import BadRequest
from shared.objects import selectors
from shared.objects.validation import names, placement, pods
from shared.objects.validation.causes import Cause, forbidden, invalid, not_negative, one_of, required, unsupported

Object = Mapping[str, Any]


def deployment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _replicated(spec, "deployment")
    found += _strategy(spec.get("strategy") or {})
    found += not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        found += not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= spec.get("minReadySeconds", 0):
            found.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return found


def replica_set(obj: Object) -> list[Cause]:
    return _replicated(obj.get("spec") or {}, "deployment")


def daemon_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = selector_and_template(spec, "daemonset")
    found += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    found += not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") not in ("RollingUpdate", "OnDelete"):
        return [*found, unsupported("spec.updateStrategy", dict(strategy), ("RollingUpdate", "OnDelete"))]
    if strategy["type"] == "RollingUpdate":
        found += _rolling("spec.updateStrategy.rollingUpdate", strategy.get("rollingUpdate") or {}, limit_surge=True)
    return found


def replication_controller(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = not_negative("spec.replicas", spec.get("replicas"))
    found += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        found.append(required("spec.selector"))
    if template is None:
        return [*found, required("spec.template")]
    return found + _template(template, {"matchLabels": selector}, fits=not selector)


def pod_template(obj: Object) -> list[Cause]:
    return pods.template("template", obj.get("template") or {})


def _replicated(spec: Object, kind: str) -> list[Cause]:
    found = not_negative("spec.replicas", spec.get("replicas"))
    found += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    return found + selector_and_template(spec, kind)


def selector_and_template(spec: Object, kind: str) -> list[Cause]:
    """Complaints about the selector, the template, and whether the one selects the other."""
    selector = spec.get("selector")
    found: list[Cause] = []
    usable = True
    if selector is None:
        found.append(required("spec.selector"))
    else:
        complaints = placement.label_selector("spec.selector", selector)
        found += complaints
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            found.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
            usable = False
        elif complaints:
            found.append(invalid("spec.selector", selector, "invalid label selector"))
            usable = False
    return found + _template(spec.get("template") or {}, selector, fits=not usable)


def _template(template: Object, selector: Object | None, *, fits: bool) -> list[Cause]:
    """Complaints about a template whose pods run until they are stopped; `fits` if it need not match the selector."""
    labels = (template.get("metadata") or {}).get("labels")
    found: list[Cause] = []
    if not fits and not _selects(selector, labels):
        found.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    found += pods.template("spec.template", template)
    spec_of_pod = template.get("spec") or {}
    if spec_of_pod.get("restartPolicy") in ("OnFailure", "Never"):
        found.append(unsupported("spec.template.spec.restartPolicy", spec_of_pod["restartPolicy"], ("Always",)))
    if spec_of_pod.get("activeDeadlineSeconds") is not None:
        detail = "activeDeadlineSeconds in ReplicaSet is not Supported"
        found.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return found


def _selects(selector: Object | None, labels: Mapping[str, str] | None) -> bool:
    try:
        return selectors.from_label_selector(selector).matches(labels)
    except BadRequest:
        return False


def _strategy(strategy: Object) -> list[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    found = one_of("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    if kind == "Recreate" and rolling is not None:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        found.append(forbidden("spec.strategy.rollingUpdate", detail))
    if kind == "RollingUpdate":
        found += _rolling("spec.strategy.rollingUpdate", rolling or {}, limit_surge=False)
    return found


def _rolling(at: str, rolling: Object, *, limit_surge: bool) -> list[Cause]:
    found: list[Cause] = []
    surge, unavailable = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
    for key, value, limited in (("maxSurge", surge, limit_surge), ("maxUnavailable", unavailable, True)):
        complaints = names.percent_or_number(value)
        found += [invalid(f"{at}.{key}", value, one) for one in complaints]
        if limited and not complaints and isinstance(value, str) and int(value[:-1]) > 100:
            found.append(invalid(f"{at}.{key}", value, "must not be greater than 100%"))
    if _is_zero(surge) and _is_zero(unavailable):
        found.append(invalid(f"{at}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return found


def _is_zero(value: int | str) -> bool:
    return value == 0 or (isinstance(value, str) and value.strip("0") == "%")


def controller_revision(obj: Object) -> list[Cause]:
    found = not_negative("revision", obj.get("revision"))
    return found if obj.get("data") is not None else [*found, required("data", "data is mandatory")]


def update_controller_revision(obj: Object, old: Object) -> list[Cause]:
    if obj.get("data") != old.get("data"):
        return [invalid("data", obj.get("data"), "field is immutable")]
    return []
