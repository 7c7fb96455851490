from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from shared.kernel import calls, elf, syscalls
from shared.kernel.calls import ENTRY, Data, Slot, call

ROOM = 0x600000
SLOT = Slot(ROOM + 0x100)
FAILURE = ROOM + 0x210
FIRST = ROOM + 0x400
DATA = ROOM + 0x2000

pytestmark = pytest.mark.skipif(not calls.supported(), reason="no machine program for this machine")


def carry_out(entries: list[bytes], data: Data, failure: bytes = b"") -> int:
    """The exit code of a process that is nothing but this list; 0x99 if it failed."""
    room = bytearray(0x3000)
    failing = failure or call("exit_group", 0x99)
    room[FAILURE - ROOM : FAILURE - ROOM + len(failing)] = failing
    body = b"".join(entries)
    room[FIRST - ROOM : FIRST - ROOM + len(body)] = body
    content = data.content()
    room[DATA - ROOM : DATA - ROOM + len(content)] = content
    code = calls.program(FIRST, FAILURE)
    program = elf.sealed("list", elf.image(calls.elf_machine(), code, elf.Room(ROOM, bytes(room), 0x8000)))
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.execveat(program, [b"list"], [])
        finally:
            os._exit(0x98)
    os.close(program)
    status = os.waitpid(pid, 0)[1]
    assert not os.WIFSIGNALED(status), signal.strsignal(os.WTERMSIG(status))
    return os.WEXITSTATUS(status)


@pytest.fixture
def data() -> Data:
    return Data(DATA, 0x1000)


def test_a_result_is_kept_and_used_by_later_calls(data: Data, tmp_path: Path) -> None:
    text = b"written by nobody"
    entries = [
        call("open", data.text(str(tmp_path / "file")), os.O_WRONLY | os.O_CREAT, 0o600, keep=SLOT),
        call("write", SLOT, data.put(text), len(text)),
        call("close", SLOT),
        call("exit_group", 7),
    ]
    assert carry_out(entries, data) == 7
    assert (tmp_path / "file").read_bytes() == text


def test_the_result_decides_where_to_go_on(data: Data, tmp_path: Path) -> None:
    there, missing = data.text(str(tmp_path)), data.text(str(tmp_path / "missing"))
    assert carry_out([call("chdir", there, on_zero=2), call("exit_group", 1), call("exit_group", 2)], data) == 2
    after = [call("exit_group", 1), call("exit_group", 3)]
    opened = call("open", there, os.O_RDONLY, on_success=2, on_zero=1)
    assert carry_out([opened, *after], data) == 3
    assert carry_out([call("chdir", missing, tolerate=calls.MISSING, on_error=2), *after], data) == 3


def test_an_error_that_is_not_tolerated_leads_to_the_failure_list(data: Data, tmp_path: Path) -> None:
    missing = data.text(str(tmp_path / "missing"))
    assert carry_out([call("chdir", missing), call("exit_group", 1)], data) == 0x99
    assert carry_out([call("chdir", missing, tolerate=calls.EXISTS), call("exit_group", 1)], data) == 0x99


def test_the_failure_list_finds_the_error_and_the_entry(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "report"
    missing = data.text(str(tmp_path / "missing"))
    failure = call("open", data.text(str(path)), os.O_WRONLY | os.O_CREAT, 0o600, keep=SLOT)
    failure += call("write", SLOT, FAILURE - 16, 16) + call("exit_group", 5)
    assert carry_out([call("umask", 0), call("chdir", missing)], data, failure) == 5
    report = path.read_bytes()
    assert int.from_bytes(report[:8], "little") == errno.ENOENT
    assert int.from_bytes(report[8:], "little") == FIRST + ENTRY


def test_a_list_may_write_memory_and_go_on_with_another(data: Data) -> None:
    code = DATA + 0x800
    other = data.put(call("exit_group", Slot(code)))
    assert carry_out([calls.move(code, 42), calls.enter(other, FAILURE)], data) == 42


def test_the_same_bytes_are_kept_once_and_no_more_than_the_limit() -> None:
    data = Data(0x1000, 16)
    assert data.text("abc") == data.text(b"abc") == 0x1000
    assert data.text("d") == 0x1008
    with pytest.raises(OverflowError, match="more than 16 bytes"):
        data.text("too long for what is left")
    with pytest.raises(ValueError, match="null byte"):
        data.text("a\0b")
