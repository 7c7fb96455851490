"""Limit ranges: what containers get that do not say what they need, and the bounds for what they say (LimitRanger)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.objects import quantities
from shared.objects.usage import amounts, pods
from shared.objects.usage.amounts import Amounts

RANGES = ("", "limitranges")
ANNOTATION = "kubernetes.io/limit-ranger"
POD = ("", "pods")
CLAIM = ("", "persistentvolumeclaims")
CONCERNED = (POD, CLAIM)
# above this many units Kubernetes compares whole units instead of thousandths
MAX_MILLI_VALUE = (2**63 - 1) // 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limit ranges of namespaces, applied to pods and claims."""

    store: Store

    def complete(self, asked: Attributes) -> None:
        """Fill in requests and limits of a new pod; in place."""
        if asked.key == POD and asked.operation == CREATE and not asked.subresource and asked.object is not None:
            for limit_range in self.of(asked.namespace):
                fill(asked.object, limit_range)

    def check(self, asked: Attributes) -> None:
        """Forbidden, with all complaints, if a pod or a claim is out of bounds."""
        if not _bounded(asked):
            return
        for limit_range in self.of(asked.namespace):
            limits = (limit_range.get("spec") or {}).get("limits") or ()
            complaints = list(dict.fromkeys(one for limit in limits for one in _complaints(asked, limit)))
            if complaints:
                why = complaints[0] if len(complaints) == 1 else f"[{', '.join(complaints)}]"
                raise forbidden(asked.resource, asked.name, why)

    def of(self, namespace: str) -> list[Object]:
        """The limit ranges of a namespace."""
        return [record.object for record in self.store.state.cache.list(*RANGES, namespace)]


def fill(pod: Object, limit_range: Object) -> None:
    """Give containers the defaults of a limit range and note in an annotation which; in place."""
    limits: Amounts = {}
    requests: Amounts = {}
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        if limit.get("type") == "Container":
            limits |= amounts.texts(limit.get("default"))
            requests |= amounts.texts(limit.get("defaultRequest"))
    spec = pod.get("spec") or {}
    notes: list[str] = []
    for kind, owners in (("container", spec.get("containers")), ("init container", spec.get("initContainers"))):
        for container in owners or ():
            resources = container.get("resources") or {}
            for noun, field, given in (("request", "requests", requests), ("limit", "limits", limits)):
                present = resources.get(field) or {}
                added = {name: text for name, text in given.items() if name not in present}
                if added:
                    resources[field] = present | added
                    notes.append(f"{', '.join(sorted(added))} {noun} for {kind} {container['name']}")
            if resources:
                container["resources"] = resources
    if notes:
        annotations = pod["metadata"].get("annotations") or {}
        pod["metadata"]["annotations"] = annotations | {ANNOTATION: f"LimitRanger plugin set: {'; '.join(notes)}"}


def _bounded(asked: Attributes) -> bool:
    if asked.key == POD:
        # containers of an existing pod change through the resize subresource alone
        return (asked.operation, asked.subresource) in ((CREATE, ""), (UPDATE, "resize"))
    return asked.key == CLAIM and not asked.subresource and asked.operation in (CREATE, UPDATE)


def _complaints(asked: Attributes, limit: Object) -> Iterator[str]:
    spec = asked.current.get("spec") or {}
    kind = limit.get("type", "")
    if asked.key == CLAIM:
        if kind == "PersistentVolumeClaim":
            requests = amounts.texts((spec.get("resources") or {}).get("requests"))
            yield from _each(limit, "min", lambda name, bound: _below(kind, name, bound, requests, {}))
            yield from _each(limit, "max", lambda name, bound: _request_above(kind, name, bound, requests))
        return
    if kind == "Container":
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            resources = container.get("resources") or {}
            yield from _out_of_bounds(
                kind, limit, amounts.texts(resources.get("requests")), amounts.texts(resources.get("limits"))
            )
    elif kind == "Pod":
        yield from _out_of_bounds(kind, limit, pods.requests(spec, overhead=False), pods.limits(spec, overhead=False))


def _out_of_bounds(kind: str, limit: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _each(limit, "min", lambda name, bound: _below(kind, name, bound, requests, limits))
    yield from _each(limit, "max", lambda name, bound: _above(kind, name, bound, requests, limits))
    yield from _each(limit, "maxLimitRequestRatio", lambda name, bound: _spread(kind, name, bound, requests, limits))


def _each(limit: Object, field: str, judge: Callable[[str, str], str]) -> Iterator[str]:
    for name, bound in sorted(amounts.texts(limit.get(field)).items()):
        complaint = judge(name, bound)
        if complaint:
            yield complaint


def _below(kind: str, name: str, bound: str, requests: Amounts, limits: Amounts) -> str:
    head = f"minimum {name} usage per {kind} is {bound}"
    if name not in requests:
        return f"{head}.  No request is specified"
    if quantities.parse(requests[name]) < quantities.parse(bound):
        return f"{head}, but request is {requests[name]}"
    if name in limits and quantities.parse(limits[name]) < quantities.parse(bound):
        return f"{head}, but limit is {limits[name]}"
    return ""


def _above(kind: str, name: str, bound: str, requests: Amounts, limits: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in limits:
        return f"{head}.  No limit is specified"
    if quantities.parse(limits[name]) > quantities.parse(bound):
        return f"{head}, but limit is {limits[name]}"
    if name in requests and quantities.parse(requests[name]) > quantities.parse(bound):
        return f"{head}, but request is {requests[name]}"
    return ""


def _request_above(kind: str, name: str, bound: str, requests: Mapping[str, str]) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in requests:
        return f"{head}.  No request is specified"
    if quantities.parse(requests[name]) > quantities.parse(bound):
        return f"{head}, but request is {requests[name]}"
    return ""


def _spread(kind: str, name: str, bound: str, requests: Amounts, limits: Amounts) -> str:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    request, limit = _comparable(requests.get(name, "0"), limits.get(name, "0"))
    if request == 0:
        return f"{head}, but no request is specified or request is 0"
    if limit == 0:
        return f"{head}, but no limit is specified or limit is 0"
    ratio = limit / request
    return f"{head}, but provided ratio is {ratio:f}" if ratio > quantities.parse(bound) else ""


def _comparable(request: str, limit: str) -> tuple[int, int]:
    """Both amounts in thousandths, or in whole units if they are too large for that."""
    if max(quantities.value(request), quantities.value(limit)) <= MAX_MILLI_VALUE:
        return quantities.milli(request), quantities.milli(limit)
    return quantities.value(request), quantities.value(limit)
