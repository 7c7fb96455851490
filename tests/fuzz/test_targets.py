"""A short search with the same examples in every run: the corpus, and what hypothesis makes of it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before_is_answered(name: str) -> None:
    examples = corpus(name)
    assert examples, f"tests/fuzz/corpus/{name} is empty"
    for example in examples:
        TARGETS[name](example)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_answered(name: str) -> None:
    examples = st.sampled_from(corpus(name))
    noise = st.binary(max_size=30)

    @settings(max_examples=150, deadline=None)
    @given(examples, st.integers(0, 2000), st.integers(0, 40), noise, examples)
    def mutated(data: bytes, place: int, removed: int, inserted: bytes, other: bytes) -> None:
        place %= len(data) + 1
        TARGETS[name](data[:place] + inserted + data[place + removed :])
        # crossing two examples keeps more of their structure than noise does
        TARGETS[name](data[:place] + other[place:])

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=200))
    def random(data: bytes) -> None:
        TARGETS[name](data)

    mutated()
    random()
