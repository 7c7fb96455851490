"""What may change of a certificate signing request where: its approval decides, its status carries the certificate."""

from services.apiserver.protocol import Object
from shared.objects import meta, times

DECISIONS = ("Approved", "Denied")


def keep_all_but_conditions(obj: Object, old: Object) -> None:
    """The approval subresource writes conditions and nothing else; in place."""
    given = (obj.get("status") or {}).get("conditions") or []
    metadata = obj["metadata"]
    obj.clear()
    obj |= meta.copy(old) | {"metadata": metadata}
    _set_conditions(obj, old, given)


def keep_decisions(obj: Object, old: Object) -> None:
    """The status subresource leaves the decisions as they are; in place."""
    given = (obj.get("status") or {}).get("conditions") or []
    decided = [one for one in _conditions(old) if one.get("type") in DECISIONS]
    _set_conditions(obj, old, [*decided, *(one for one in given if one.get("type") not in DECISIONS)])


def _set_conditions(obj: Object, old: Object, given: list[Object]) -> None:
    status = obj["status"] = dict(obj.get("status") or {})
    now = times.now()
    before = {(one.get("type"), one.get("status")): one for one in _conditions(old)}
    conditions = []
    for one in given:
        since = before.get((one.get("type"), one.get("status")), {}).get("lastTransitionTime") or now
        conditions.append({"lastUpdateTime": now, "lastTransitionTime": since} | {k: v for k, v in one.items() if v})
    status.pop("conditions", None)
    if conditions:
        status["conditions"] = conditions


def _conditions(obj: Object) -> list[Object]:
    return list((obj.get("status") or {}).get("conditions") or ())
