"""Which webhooks an operation goes to, in which order, and what their answers come to."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.apiserver.admission import instruments
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.conditions import Unsettled
from services.apiserver.admission.environment import Environment
from services.apiserver.admission.matching import Operation, convert
from services.apiserver.admission.webhooks.calls import Caller, CallFailed
from services.apiserver.admission.webhooks.hooks import Hook
from services.apiserver.admission.webhooks.reviews import Verdict
from services.apiserver.failures import bad_request, forbidden, internal
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.errors import ApiError
from shared.objects import decoding, defaults, json, patches
from shared.objects.registry import Resource

log = logging.getLogger(__name__)

LOWEST_CODE = 400
# annotations of audit events (k8s.io/apiserver, admission/plugin/webhook/mutating/dispatcher.go)
MUTATED = "mutation.webhook.admission.k8s.io/"
PATCHED = "patch.webhook.admission.k8s.io/"
FAILED_OPEN = {
    "mutating": "failed-open.mutating.webhook.admission.k8s.io/",
    "validating": "failed-open.validating.webhook.admission.k8s.io/",
}
Again = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Calls webhooks."""

    store: Store
    environment: Environment
    caller: Caller

    async def validate(self, hooks: Sequence[Hook], asked: Attributes) -> None:
        """Ask all webhooks that want to know, at the same time; the first refusal in their order is raised."""
        wanted = [(hook, matched) for hook in hooks if (matched := self._matched(hook, asked)) is not None]
        if not wanted:
            return
        if len(wanted) == 1:
            await self._judge(*wanted[0], asked, _place(0, 0))
            return
        outcomes = await asyncio.gather(
            *(self._judge(hook, matched, asked, _place(0, index)) for index, (hook, matched) in enumerate(wanted)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def mutate(self, hooks: Sequence[Hook], asked: Attributes, only: set[str] | None = None) -> set[str]:
        """Let webhooks change the object one after the other; returns whom to ask again because of later changes.

        With `only`, those alone are asked (the second round).
        """
        again: set[str] = set()
        asked_before: set[str] = set()
        turn = 0 if only is None else 1
        for index, hook in enumerate(hooks):
            if only is not None and hook.uid not in only:
                continue
            matched = self._matched(hook, asked)
            if matched is None:
                continue
            if await self._change(hook, matched, asked, _place(turn, index)):
                again |= asked_before
                asked_before = set()
            if hook.reinvoked:
                asked_before.add(hook.uid)
        return again

    def _matched(self, hook: Hook, asked: Attributes) -> Resource | None:
        """The resource a webhook is to see; Forbidden if its conditions cannot be settled."""
        matched = hook.matcher.resource_of(Operation.of(asked), asked.name)
        if matched is None or not hook.matcher.selects(asked, self.store):
            return None
        resource = matched
        try:
            applies = hook.conditions.hold(lambda: self.environment.bindings(asked, resource))
        except Unsettled as exc:
            raise forbidden(asked.resource, asked.name, str(exc)) from exc
        return matched if applies else None

    async def _judge(self, hook: Hook, matched: Resource, asked: Attributes, place: str) -> None:
        await self._ask(hook, matched, asked, place, mutating=False)

    async def _change(self, hook: Hook, matched: Resource, asked: Attributes, place: str) -> bool:
        """Let a webhook change the object; whether it did. The audit log is told either way."""
        who = {"configuration": hook.configuration, "webhook": hook.name}
        changed = False
        try:
            verdict = await self._ask(hook, matched, asked, place, mutating=True)
            if verdict is not None and verdict.patch:
                told = who | {"patch": verdict.patch, "patchType": "JSONPatch"}
                asked.request.note(f"{PATCHED}{place}", json.encode(told).decode())
                changed = self._lay(hook, matched, asked, verdict.patch)
        finally:
            asked.request.note(f"{MUTATED}{place}", json.encode(who | {"mutated": changed}).decode())
        return changed

    def _lay(self, hook: Hook, matched: Resource, asked: Attributes, patch: list[object]) -> bool:
        if asked.object is None:
            what = "attempted to modify the object, which is not supported for this operation"
            raise internal(f'admission webhook "{hook.name}" {what}')
        before = asked.object
        asked.object = _patched(asked, matched, patch)
        return asked.object != before

    async def _ask(
        self, hook: Hook, matched: Resource, asked: Attributes, place: str, *, mutating: bool
    ) -> Verdict | None:
        """The verdict that lets pass; None if the call failed and that is to be ignored. The refusal is raised."""
        if asked.dry_run and not hook.safe_to_dry_run:
            raise bad_request(f'admission webhook "{hook.name}" does not support dry run')
        kind, started = "admit" if mutating else "validating", time.perf_counter()
        verdict, error, refused = None, "no_error", None
        try:
            verdict = await self.caller.ask(hook, asked, matched, mutating=mutating)
            if not verdict.allowed:
                refused = refusal(hook.name, verdict.status)
        except CallFailed as exc:
            if hook.ignores_failure:
                log.warning("failing open: %s", exc)
                instruments.FAILED_OPEN.labels(hook.name, kind).inc()
                asked.request.note(f"{FAILED_OPEN['mutating' if mutating else 'validating']}{place}", hook.name)
            else:
                error, refused = "calling_webhook_error", internal(str(exc))
        rejected = str(refused is not None).lower()
        instruments.CALLS.labels(hook.name, kind, asked.operation, rejected).observe(time.perf_counter() - started)
        if refused is not None:
            instruments.REJECTIONS.labels(hook.name, kind, asked.operation, error, str(refused.code)).inc()
            raise refused
        return verdict


def _place(turn: int, index: int) -> str:
    """What tells the calls of one request apart in the audit log."""
    return f"round_{turn}_index_{index}"


def refusal(name: str, status: Object) -> ApiError:
    """What a refused request is answered with: the webhook's own status, with its name in front of the message."""
    text = status.get("message") or status.get("reason")
    head = f'admission webhook "{name}" denied the request'
    code = status.get("code")
    code = code if isinstance(code, int) and code >= LOWEST_CODE else LOWEST_CODE
    message = f"{head}: {text}" if text else f"{head} without explanation"
    details = status.get("details")
    return ApiError(message, code=code, reason=str(status.get("reason") or ""), details=details)


def _patched(asked: Attributes, matched: Resource, patch: list[object]) -> Object:
    """The object after a webhook's patch, brought into canonical form; InternalError if it is none any more."""
    assert asked.object is not None
    whole = not asked.subresource or asked.kind[2] == asked.resource.kind
    shown = convert(asked.object, asked.resource, matched) if whole else asked.object
    assert shown is not None
    try:
        changed = patches.json_patch(shown, patch)
        if not whole:
            return changed
        decoding.conform(matched.schema, changed)
    except ApiError as exc:
        raise internal(exc.message) from exc
    defaults.apply_defaults(matched, changed)
    back = convert(changed, matched, asked.resource)
    assert back is not None
    return back
