from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.objects import quantities

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e2", "E-3"]
NUMBERS = st.one_of(st.integers(-10_000, 10_000).map(str), st.decimals(-999, 999, places=3).map(str))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1024Ki", "1Mi"),
        ("0.5Mi", "512Ki"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1000k", "1M"),
        ("2000m", "2"),
        (".5", "500m"),
        ("5.", "5"),
        ("+1", "1"),
        ("0Ki", "0"),
        ("1e3", "1e3"),
        ("1.5e3", "1500"),
        ("1023", "1023"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("0.0000000001", "1n"),
        ("100000000000000000000", "9223372036854775807"),
        ("-1500m", "-1500m"),
    ],
)
def test_a_quantity_is_written_canonically(text: str, canonical: str) -> None:
    assert quantities.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", ".", "1.2.3", "abc", "1x", "--1", "1 ", "٣"])
def test_a_text_that_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        quantities.canonical(text)


@pytest.mark.parametrize("text", ["1Kii", "1e", "1mm", "1e999999999"])
def test_an_unknown_suffix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        quantities.canonical(text)


@given(NUMBERS, st.sampled_from(SUFFIXES))
def test_canonical_text_is_stable_and_keeps_the_value(number: str, suffix: str) -> None:
    text = number + suffix
    canonical = quantities.canonical(text)
    assert quantities.canonical(canonical) == canonical
    assert quantities.parse(canonical) == quantities.parse(text)


@given(NUMBERS, st.sampled_from(SUFFIXES))
def test_whole_and_milli_values_round_away_from_zero(number: str, suffix: str) -> None:
    exact = quantities.parse(number + suffix)
    for rounded, scale in ((quantities.value(number + suffix), 1), (quantities.milli(number + suffix), 1000)):
        assert abs(Decimal(rounded)) >= abs(exact * scale)
        assert abs(Decimal(rounded) - exact * scale) < 1


def test_amounts_below_a_thousandth_are_rounded_up() -> None:
    assert quantities.rounded_to_milli("100n") == "1m"
    assert quantities.rounded_to_milli("1Gi") == "1Gi"


def test_numbers_are_formatted_as_quantities() -> None:
    assert quantities.format_milli(1500) == "1500m"
    assert quantities.format_milli(2000) == "2"
