"""Records behave as dataclasses do, and what must start quickly does not import those."""

import subprocess
import sys

import pytest

from shared.records import as_dict, field, field_names, frozen, mutable


@mutable
class Base:
    name: str
    size: int = 3
    parts: list[str] = field(default_factory=list)


@mutable
class Longer(Base):
    extra: bool = False


@frozen
class Key:
    a: int
    b: str = "b"


def test_fields_come_by_position_by_name_and_by_default() -> None:
    first, second = Base("x"), Base("x", parts=["p"], size=4)
    assert (first.name, first.size, first.parts) == ("x", 3, [])
    assert (second.size, second.parts) == (4, ["p"])
    assert Base("y").parts is not first.parts


def test_a_record_may_extend_another() -> None:
    longer = Longer("x", 5, extra=True)
    assert as_dict(longer) == {"name": "x", "size": 5, "parts": [], "extra": True}
    assert field_names(Longer) == ("name", "size", "parts", "extra")


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "lacks field 'name'"),
        (("x",), {"nmae": 1}, "has no field 'nmae'"),
        (("x",), {"name": "y"}, "field 'name' twice"),
        (("x", 1, [], 4), {}, "takes 3 fields, not 4"),
    ],
)
def test_wrong_fields_are_named(values: tuple[object, ...], named: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Base(*values, **named)  # type: ignore[arg-type]


def test_records_of_one_class_with_equal_fields_are_equal() -> None:
    assert Base("x") == Base("x") != Base("y")
    assert Base("x") != Longer("x")
    assert repr(Key(1)) == "Key(a=1, b='b')"


def test_a_frozen_record_is_a_key_and_stays_as_it_is() -> None:
    assert {Key(1): "one"}[Key(1)] == "one"
    with pytest.raises(AttributeError, match="cannot assign to field 'a'"):
        Key(1).a = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(Base("x"))


def test_records_have_no_room_for_other_attributes_and_match_by_position() -> None:
    with pytest.raises(AttributeError):
        Base("x").other = 1  # type: ignore[attr-defined]
    match Key(1, "c"):
        case Key(a, b):
            assert (a, b) == (1, "c")


@pytest.mark.parametrize("module", ["services.nodeagent.keeper.app", "services.nodeagent.oci.main"])
def test_what_is_forked_or_started_often_imports_no_dataclasses(module: str) -> None:
    script = (
        f"import sys, {module}; print(sorted({{'dataclasses', 'inspect', 'platform', 'pathlib'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
