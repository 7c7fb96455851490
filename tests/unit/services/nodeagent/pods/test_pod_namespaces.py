"""Ranges of user ids and clock offsets."""

import pytest

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.pods.namespaces import FIRST, IDS_PER_POD, LAST, TIME_OFFSETS, choose_range, time_offsets


def test_ranges_never_overlap_and_stay_within_32_bits():
    taken: set[int] = set()
    for _ in range(300):
        first = choose_range(taken, "c/n1")
        assert first % IDS_PER_POD == 0
        assert first >= FIRST * IDS_PER_POD
        assert first + IDS_PER_POD < 1 << 32
        assert first not in taken
        taken.add(first)


def test_a_released_range_is_given_again():
    first = choose_range(set(), "c/n1")
    second = choose_range({first}, "c/n1")
    assert choose_range({second}, "c/n1") == first


def test_nodes_of_one_machine_begin_at_different_ranges():
    assert choose_range(set(), "c/n1") != choose_range(set(), "c/n2")


def test_no_range_is_an_error_that_says_so():
    everything = {number * IDS_PER_POD for number in range(FIRST, LAST + 1)}
    with pytest.raises(ConfigurationError, match="no free range of 65536 user ids"):
        choose_range(everything, "c/n1")


def _pod(text):
    return {"metadata": {"annotations": {TIME_OFFSETS: text}}, "spec": {}}


def test_time_offsets_are_those_of_the_runtime_specification():
    text = '{"boottime": {"secs": 60, "nanosecs": 5}, "monotonic": {"secs": -1}}'
    assert time_offsets(_pod(text)) == {"boottime": 60 * 10**9 + 5, "monotonic": -(10**9)}
    assert time_offsets({"metadata": {}, "spec": {}}) == {}


@pytest.mark.parametrize("text", ["1h", "[]", '{"boottime": 3}', '{"realtime": {"secs": 1}}'])
def test_malformed_time_offsets_name_the_annotation(text):
    with pytest.raises(ConfigurationError, match=r"annotation wherry\.io/time-offsets"):
        time_offsets(_pod(text))
