from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from shared.kernel.netlink import Message, NetlinkError, NetlinkSocket
from shared.kernel.netlink.wire import Reply

REPLY = Reply(16, 0, 1, bytes(16))


class Restless(NetlinkSocket):
    """A kernel whose objects change during the first dumps."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.changes = changes

    def dump(self, message: Message) -> Iterator[Reply]:
        yield REPLY
        self.changes -= 1
        if self.changes >= 0:
            raise NetlinkError(errno.EINTR, "objects changed during the dump")


def test_objects_that_change_meanwhile_are_asked_for_again() -> None:
    with Restless(3) as connection:
        assert connection.snapshot(Message(18, 0, b"")) == [REPLY]


def test_objects_that_never_rest_are_an_error() -> None:
    with Restless(1000) as connection, pytest.raises(NetlinkError, match="each of 10 dumps"):
        connection.snapshot(Message(18, 0, b""))
