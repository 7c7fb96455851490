"""What the parameters of a request may say: ListOptions, CreateOptions, UpdateOptions, PatchOptions and DeleteOptions
of meta/v1.

A parameter that nobody understands must not be taken for its absence: `dryRun=all` would be a real deletion. The rules
and words are those of apimachinery's pkg/apis/meta (v1/validation, internalversion/validation).
"""

from __future__ import annotations

from collections.abc import Mapping

from services.apiserver.failures import invalid
from services.apiserver.negotiation import content_type
from services.apiserver.protocol import Object, Query, Request
from shared.objects.validation.causes import Cause, forbidden, one_of, required, too_long, unsupported
from shared.objects.validation.causes import invalid as invalid_value

APPLY = "application/apply-patch+yaml"
GROUP = "meta.k8s.io"
KINDS: Mapping[str, str] = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
LONGEST_MANAGER = 128
FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
MATCHES = ("Exact", "NotOlderThan", "")
POLICIES = ("Foreground", "Background", "Orphan", "nil")


def check(request: Request, verb: str) -> None:
    """Invalid if a parameter of a list or a change says what it cannot say."""
    query = request.query
    if verb == "list":
        _refuse("ListOptions", _list(query))
        return
    kind = KINDS.get(verb)
    if kind is None:
        return
    found: list[Cause] = []
    manager = query.get("fieldManager")
    if verb == "patch":
        applies = content_type(request.headers.get("content-type", "")) == APPLY
        if not applies and "force" in query:
            found.append(forbidden("force", "may not be specified for non-apply patch"))
        if applies and not manager:
            found.append(required("fieldManager", "is required for apply patch"))
    if manager:
        found += _manager(manager)
    found += _dry_run(query.all("dryRun"))
    found += one_of("fieldValidation", query.get("fieldValidation"), FIELD_VALIDATION)
    _refuse(kind, found)


def check_delete(options: Object) -> None:
    """Invalid if DeleteOptions contradict themselves or ask for what there is not."""
    policy = options.get("propagationPolicy")
    found: list[Cause] = []
    if policy is not None and options.get("orphanDependents") is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        found.append(invalid_value("propagationPolicy", policy, detail))
    if policy is not None and policy not in POLICIES[:-1]:
        found.append(unsupported("propagationPolicy", policy, POLICIES))
    found += _dry_run(options.get("dryRun") or [])
    _refuse("DeleteOptions", found)


def _list(query: Query) -> list[Cause]:
    version, match = query.get("resourceVersion"), query.get("resourceVersionMatch")
    found: list[Cause] = []
    if match and not version:
        detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        found.append(forbidden("resourceVersionMatch", detail))
    if match and query.get("continue"):
        found.append(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    found += one_of("resourceVersionMatch", match, MATCHES)
    if match == "Exact" and version == "0":
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        found.append(forbidden("resourceVersionMatch", detail))
    if "sendInitialEvents" in query:
        found.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return found


def _manager(name: str) -> list[Cause]:
    found = [too_long("fieldManager", LONGEST_MANAGER)] if len(name.encode()) > LONGEST_MANAGER else []
    place = 0
    for one in name:
        if not one.isprintable():
            found.append(
                invalid_value("fieldManager", name, f"invalid character U+{ord(one):04X} (at position {place})")
            )
        place += len(one.encode())
    return found


def _dry_run(values: list[str]) -> list[Cause]:
    return [] if all(one == "All" for one in values) else [unsupported("dryRun", values, ("All",))]


def _refuse(kind: str, causes: list[Cause]) -> None:
    if causes:
        raise invalid(GROUP, kind, "", causes)
