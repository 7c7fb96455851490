"""Where a blob's bytes are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.registry.chunks import Blob, Layout, Run


def test_chunks_in_a_row_of_one_size_are_one_run() -> None:
    layout = Layout()
    for sequence, size in [(5, 10), (6, 10), (7, 10), (9, 10), (10, 4)]:
        layout.add(sequence, size)
    assert layout.runs == [Run(5, 3, 10), Run(9, 1, 10), Run(10, 1, 4)]
    assert (layout.size, layout.count) == (44, 5)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=12), st.data())
def test_a_range_is_made_of_exactly_its_bytes(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    layout = Layout()
    content: dict[int, list[int]] = {}
    sequence = 0
    for gap, size in steps:
        sequence += gap
        content[sequence] = list(range(layout.size, layout.size + size))
        layout.add(sequence, size)
    start = data.draw(st.integers(0, layout.size))
    stop = data.draw(st.integers(start, layout.size))
    blob = Blob("sha256:x", layout.size, "id", tuple(layout.runs))
    read = [byte for piece in blob.pieces(start, stop) for byte in content[piece.sequence][piece.start : piece.stop]]
    assert read == list(range(start, stop))


def test_an_empty_blob_has_no_pieces() -> None:
    assert Blob("sha256:x", 0, "id", ()).pieces(0, 0) == []
