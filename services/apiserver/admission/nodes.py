"""A node that registers takes no pods until it has shown that it is ready (TaintNodesByCondition)."""

from services.apiserver.admission.attributes import CREATE, Attributes

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def complete(asked: Attributes) -> None:
    """Taint a new node; in place."""
    if asked.key != ("", "nodes") or asked.operation != CREATE or asked.subresource or asked.object is None:
        return
    spec = asked.object.get("spec") or {}
    taints = spec.get("taints") or []
    if not any(one.get("key") == NOT_READY["key"] and one.get("effect") == NOT_READY["effect"] for one in taints):
        asked.object["spec"] = {**spec, "taints": [*taints, dict(NOT_READY)]}
