"""What the API server reads from its environment."""

from __future__ import annotations

import pytest

from services.apiserver.settings import ApiSettings
from shared.errors import SettingsError

NUMBERS = ["WHERRY_NOT_READY_TOLERATION_SECONDS", "WHERRY_HISTORY_REVISIONS", "WHERRY_HISTORY_SECONDS"]
AUDIT = ["WHERRY_AUDIT_LOG_MAXSIZE", "WHERRY_AUDIT_LOG_MAXBACKUP", "WHERRY_AUDIT_LOG_MAXAGE"]


@pytest.mark.parametrize("variable", [*NUMBERS, *AUDIT, "WHERRY_SERVICE_CIDR", "WHERRY_API_ADDRESSES", "WHERRY_DATA"])
def test_an_empty_variable_is_one_that_is_not_set(variable: str) -> None:
    audit = {"WHERRY_AUDIT_POLICY_FILE": "/etc/policy.yaml"}
    assert ApiSettings.from_environment({variable: "", **audit}) == ApiSettings.from_environment(audit)


@pytest.mark.parametrize("variable", [*NUMBERS, *AUDIT])
@pytest.mark.parametrize("text", ["many", "-1", "1.5", "²"])
def test_what_is_no_number_is_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: .* is not a whole number of at least"):
        ApiSettings.from_environment({variable: text, "WHERRY_AUDIT_POLICY_FILE": "/etc/policy.yaml"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [("WHERRY_HISTORY_REVISIONS", "0"), ("WHERRY_SERVICE_CIDR", "10.96.0.0/33"), ("WHERRY_API_ADDRESSES", "here:6443")],
)
def test_what_cannot_be_used_is_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        ApiSettings.from_environment({variable: text})
