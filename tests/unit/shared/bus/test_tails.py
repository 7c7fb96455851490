"""Which subject may fill a stream's gaps, and what is no tail."""

from __future__ import annotations

import pytest

from shared.bus import tails
from shared.errors import BusError
from shared.state.streams import EVENTS, STATE, STREAMS


def test_a_gap_in_the_state_log_is_filled_by_what_no_reader_takes_for_an_object() -> None:
    assert tails.filler_of(STREAMS[STATE].config) == "b.restored"


def test_other_streams_take_a_filler_below_their_own_subject() -> None:
    assert tails.filler_of({"subjects": ["$KV.registry.>"]}) == "$KV.registry.restored"
    assert tails.filler_of(STREAMS[EVENTS].config).endswith(".restored")


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x01"])
def test_bytes_that_are_no_tail_are_refused(data: bytes) -> None:
    with pytest.raises(BusError, match="end of a stream cannot be read"):
        tails.decode(data)
