"""Errors and the Status objects they travel as."""

from __future__ import annotations

import pytest

from shared.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Gone,
    Invalid,
    NotFound,
    ServiceUnavailable,
    api_error_from_status,
)


@pytest.mark.parametrize(
    "error",
    [
        NotFound('pods "a" not found', details={"name": "a", "kind": "pods"}),
        AlreadyExists("there"),
        Conflict("changed"),
        Expired("too old"),
        Gone("gone"),
        Invalid("bad", causes=[{"reason": "FieldValueRequired", "message": "Required value", "field": "spec"}]),
        ServiceUnavailable("away"),
    ],
)
def test_an_error_survives_the_wire(error: ApiError) -> None:
    back = api_error_from_status(error.status())
    assert type(back) is type(error)
    assert back.status() == error.status()


def test_an_unknown_reason_falls_back_to_the_code() -> None:
    assert type(api_error_from_status({"code": 404, "reason": "Odd"})) is NotFound
    assert type(api_error_from_status({"code": 409})) is Conflict
    assert type(api_error_from_status({"code": 418, "reason": "Teapot"})) is ApiError
    assert api_error_from_status({}).code == 500


def test_a_status_says_failure_and_keeps_the_causes() -> None:
    status = Invalid("bad", causes=[{"reason": "r", "message": "m", "field": "f"}]).status()
    assert (status["status"], status["code"], status["reason"]) == ("Failure", 422, "Invalid")
    assert status["details"]["causes"] == [{"reason": "r", "message": "m", "field": "f"}]
