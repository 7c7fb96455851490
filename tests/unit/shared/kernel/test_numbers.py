"""The numbers of system calls agree with the larger table that filters are made from."""

from __future__ import annotations

import pytest

from services.nodeagent.oci import filters
from shared.kernel import numbers


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_numbers_are_those_of_the_table_for_filters(machine: str) -> None:
    columns, rows = filters.numbers()
    for name in numbers.names():
        expected = rows[name][columns.index(machine)]
        try:
            assert str(numbers.number(name, machine)) == expected, name
        except LookupError:
            assert expected == "-", name


def test_numbers_of_another_machine_are_not_known() -> None:
    assert not numbers.known("vax")
    with pytest.raises(LookupError, match="mount is not known for vax"):
        numbers.number("mount", "vax")
