"""The roles and bindings that every cluster begins with, and how those of an older version are brought up to date."""

from collections.abc import Iterator

from services.apiserver.auth.policy import controllers, notation, users
from services.apiserver.auth.policy.notation import AUTOUPDATE
from services.apiserver.auth.rules import missing, rules_of
from services.apiserver.protocol import Object
from shared.objects import meta

CONTROLLER_PREFIX = "system:controller:"


def defaults() -> Iterator[tuple[str, Object]]:
    """(plural, object) of every default role and binding; roles come before what binds them."""
    cluster_roles = [
        *notation.roles(users.CLUSTER_ROLES),
        *notation.roles(controllers.CONTROLLERS, CONTROLLER_PREFIX),
    ]
    for role in cluster_roles:
        yield "clusterroles", role
    for role in notation.roles(users.ROLES):
        yield "roles", role
    for binding in notation.bindings(users.CLUSTER_BINDINGS):
        yield "clusterrolebindings", binding
    for role in cluster_roles:
        name = role["metadata"]["name"]
        if name.startswith(CONTROLLER_PREFIX):
            account = name.removeprefix(CONTROLLER_PREFIX)
            (binding,) = notation.bindings(f"{name} ServiceAccount/kube-system/{account}")
            yield "clusterrolebindings", binding
    for binding in notation.bindings(users.BINDINGS):
        yield "rolebindings", binding


def reconciled(present: Object, default: Object) -> Object | None:
    """What an existing role or binding must become to hold at least the default, or None if it is to stay as it is.

    What somebody added stays, and so does everything whose annotation autoupdate is not true. A binding that refers to
    another role is somebody's own.
    """
    if (present["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "true":
        return None
    if present.get("roleRef") != default.get("roleRef"):
        return None
    wanted: Object = meta.copy(present)
    metadata = wanted["metadata"]
    for field in ("labels", "annotations"):
        metadata[field] = default["metadata"][field] | (metadata.get(field) or {})
    if "aggregationRule" in default:
        wanted["aggregationRule"] = default["aggregationRule"]
    elif "rules" in default:
        held = rules_of(present)
        lacking = [rule for rule in default["rules"] if missing(held, rules_of({"rules": [rule]}))]
        wanted["rules"] = [*(present.get("rules") or ()), *lacking]
    if "subjects" in default:
        subjects = present.get("subjects") or []
        wanted["subjects"] = [*subjects, *(one for one in default["subjects"] if one not in subjects)]
    return wanted if wanted != present else None
