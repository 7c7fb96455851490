"""What a new pod gets that it does not say: its account and token, its priority, its stay on failing nodes.

What that makes of a spec depends on the spec and on little else, and the pods of a workload have one spec. So it is
worked out once, and remembered by both.
"""

from typing import NamedTuple

from services.apiserver.admission import pods, runtimeclasses, serviceaccounts
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.limits import Limits
from services.apiserver.admission.pods import Priority
from services.apiserver.admission.serviceaccounts import Account
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.objects.repetition import pack, remembered, unpack


class Given(NamedTuple):
    """What the cluster gives to a pod, apart from limits and runtime classes."""

    account: Account | None
    priority: Priority
    toleration_seconds: int


async def complete(store: Store, limits: Limits, toleration_seconds: int, asked: Attributes) -> None:
    """Complete a new pod in place; Forbidden if it refers to what does not exist, or contradicts what it gets."""
    resource, pod = asked.resource, asked.current
    limits.complete(asked)
    if isinstance(pod.get("spec"), dict):
        account = await serviceaccounts.account_of(store, resource, pod)
        priority = pods.priority_of(store, resource, pod)
        pods.check_priority(resource, pod, priority)
        pod["spec"] = unpack(_completed(Given(account, priority, toleration_seconds), pod["spec"]))
    runtimeclasses.complete(store, asked)


@remembered
def _completed(given: Given, spec: Object) -> bytes:
    if given.account is not None:
        serviceaccounts.assign(spec, given.account)
    pods.set_priority(spec, given.priority)
    pods.add_tolerations(spec, given.toleration_seconds)
    return pack(spec)
