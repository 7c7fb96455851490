"""Eviction: deleting a pod by way of its disruption budget (policy/v1, KEP-85)."""

from services.apiserver import conditions, decoding
from services.apiserver.failures import bad_request, plain
from services.apiserver.protocol import Document, Object, Outcome, Request
from services.apiserver.routes import Target
from services.apiserver.store import Change, Store
from services.apiserver.subresources.binding import created
from services.apiserver.write import Writer, author
from shared.errors import TooManyRequests
from shared.objects import meta, registry, selectors, times
from shared.objects.registry import Resource
from shared.state.cache import Record

OLDER_VERSIONS = ("policy/v1beta1",)


class Evictions:
    """Deletes pods if their budgets allow it."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    async def create(self, request: Request, target: Target) -> Outcome:
        body = decoding.decode_as(request, "policy/v1", "Eviction", OLDER_VERSIONS)
        name = (body.get("metadata") or {}).get("name")
        if name and name != target.name:
            raise bad_request("name in URL does not match name in Eviction object")
        options = dict(body.get("deleteOptions") or {})
        if request.dry_run:
            options["dryRun"] = ["All"]
        pods = target.resource
        record = await self._store.latest(pods, target.namespace, target.name)
        dry = bool(options.get("dryRun"))
        if _counts(record.object):
            await self._spend_budget(request, record.object, dry)
        if not dry and record.object.get("spec", {}).get("nodeName"):
            await self._announce(request, pods, record.object)
        await self._writer.remove(request, pods, target.namespace, target.name, options, ask=False)
        return Document(created(), 201)

    async def _announce(self, request: Request, pods: Resource, pod: Object) -> None:
        def mark(record: Record) -> Change:
            changed = meta.copy(record.object)
            changed["status"] = conditions.with_condition(changed.get("status", {}), conditions.evicted())
            return Change(changed)

        await self._store.update(pods, *meta.key(pod), mark, author(request), cause="eviction")

    async def _spend_budget(self, request: Request, pod: Object, dry: bool) -> None:
        budgets = registry.by_plural("policy", "v1", "poddisruptionbudgets")
        if budgets is None:
            return
        namespace, name = meta.key(pod)
        matching = [one for one in self._store.list_objects(budgets, namespace) if _selects(one.object, pod)]
        if len(matching) > 1:
            raise plain(
                500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        for budget in matching:

            def spend(record: Record) -> Change:
                changed = meta.copy(record.object)
                status = changed.setdefault("status", {})
                if status.get("disruptionsAllowed", 0) <= 0:
                    raise _refusal(changed)
                status["disruptionsAllowed"] -= 1
                status.setdefault("disruptedPods", {})[name] = times.now()
                return Change(changed)

            if dry:
                spend(budget)
            else:
                await self._store.update(budgets, namespace, budget.ref.name, spend, author(request), cause="eviction")


def _counts(pod: Object) -> bool:
    """Whether the eviction disrupts anything: a pod that never ran or is on its way out does not."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed", "Pending")


def _selects(budget: Object, pod: Object) -> bool:
    selector = budget.get("spec", {}).get("selector")
    return selector is not None and selectors.from_label_selector(selector).matches(pod["metadata"].get("labels"))


def _refusal(budget: Object) -> TooManyRequests:
    status, name = budget.get("status", {}), budget["metadata"]["name"]
    message = (
        f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
        f"{status.get('currentHealthy', 0)} currently"
    )
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details={"causes": [{"reason": "DisruptionBudget", "message": message}]},
    )
