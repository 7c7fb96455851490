"""Mount options and the command line."""

import pytest

from services.nodeagent.oci import arguments, options
from shared.kernel import syscalls as sys


def test_flags_attributes_propagation_and_data_are_told_apart() -> None:
    parsed = options.parse(["nosuid", "ro", "rshared", "size=1k", "mode=755"])
    assert parsed.flags == sys.MS_NOSUID | sys.MS_RDONLY
    assert parsed.own.set == sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_RDONLY
    assert parsed.propagation == [(sys.MS_SHARED, True)]
    assert parsed.data == ["size=1k", "mode=755"]


def test_the_last_of_two_contradicting_options_counts() -> None:
    parsed = options.parse(["ro", "rw", "noexec"])
    assert parsed.flags == sys.MS_NOEXEC
    assert (parsed.own.set, parsed.own.clear) == (sys.MOUNT_ATTR_NOEXEC, sys.MOUNT_ATTR_RDONLY)


def test_recursive_attributes_are_kept_apart_from_the_mount_s_own() -> None:
    parsed = options.parse(["rbind", "rro", "rnoatime"])
    assert parsed.bind
    assert parsed.recursive
    assert parsed.below.set == sys.MOUNT_ATTR_RDONLY | sys.MOUNT_ATTR_NOATIME
    assert parsed.below.clear == sys.MOUNT_ATTR_ATIMES
    assert not parsed.own.any


@pytest.mark.parametrize("name", ["relatime", "remount", "rw", "ro", "rbind"])
def test_names_that_begin_with_r_are_not_taken_for_recursive_ones(name: str) -> None:
    parsed = options.parse([name])
    assert not parsed.below.any
    assert parsed.data == []


def test_every_option_said_to_be_known_is() -> None:
    assert all(options.parse([name]).data == [] for name in options.KNOWN)


def test_options_are_read_before_and_after_the_command_with_one_dash_or_two() -> None:
    given = arguments.parse(["--root", "/r", "-log-format=json", "create", "-b", "/bundle", "--pid-file=/p", "one"])
    assert (given.command, given.id()) == ("create", "one")
    assert (given.get("root"), given.get("log-format")) == ("/r", "json")
    assert (given.get("bundle"), given.get("pid-file")) == ("/bundle", "/p")


def test_options_behind_the_id_are_the_runtime_s_except_for_exec() -> None:
    assert arguments.parse(["delete", "one", "--force"]).has("force")
    given = arguments.parse(["exec", "-e", "A=1", "-e", "B=2", "one", "ls", "-d", "/"])
    assert given.all("env") == ["A=1", "B=2"]
    assert given.rest == ["one", "ls", "-d", "/"]


@pytest.mark.parametrize(
    ("words", "named"),
    [(["fly"], "fly"), (["create", "--wings", "a"], "--wings"), (["create", "--bundle"], "--bundle")],
)
def test_a_command_line_that_makes_no_sense_is_refused(words: list[str], named: str) -> None:
    with pytest.raises(arguments.UsageError, match=named):
        arguments.parse(words)


@pytest.mark.parametrize("words", [["state"], ["state", ""], ["state", "a", "b"]])
def test_an_id_is_one_word(words: list[str]) -> None:
    with pytest.raises(arguments.UsageError):
        arguments.parse(words).id()
