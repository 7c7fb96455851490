"""Restart rules of containers (KEP-5307): which exit codes start a container again, whatever its policy says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects.validation.causes import Cause, invalid, required, unsupported

Object = Mapping[str, Any]

MOST_RULES = 20
MOST_CODES = 255
ACTIONS = ("Restart",)
OPERATORS = ("In", "NotIn")


def rules(at: str, container: Object) -> list[Cause]:
    """Complaints about the restartPolicyRules of the container at `at`."""
    given = container.get("restartPolicyRules")
    if not given:
        return []
    found: list[Cause] = []
    if not container.get("restartPolicy"):
        found.append(required(f"{at}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    if len(given) > MOST_RULES:
        text = f"Too many: {len(given)}: must have at most {MOST_RULES} items"
        found.append(Cause("FieldValueTooMany", text, f"{at}.restartPolicyRules"))
    for index, rule in enumerate(given):
        field = f"{at}.restartPolicyRules[{index}]"
        action = rule.get("action") or ""
        if action not in ACTIONS:
            found.append(unsupported(f"{field}.action", action, ACTIONS))
        found += _exit_codes(f"{field}.exitCodes", rule.get("exitCodes"))
    return found


def _exit_codes(at: str, codes: Object | None) -> list[Cause]:
    if codes is None:
        return [required(at, "must be specified")]
    found: list[Cause] = []
    operator = codes.get("operator") or ""
    if operator not in OPERATORS:
        found.append(unsupported(f"{at}.operator", operator, OPERATORS))
    values = codes.get("values") or ()
    if not values:
        found.append(invalid(f"{at}.values", list(values), "at least 1 value is required"))
    if len(values) > MOST_CODES:
        text = f"Too many: {len(values)}: must have at most {MOST_CODES} items"
        found.append(Cause("FieldValueTooMany", text, f"{at}.values"))
    return found
