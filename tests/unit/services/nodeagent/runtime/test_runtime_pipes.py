"""The agent's ends of pipes: nothing read ahead, back-pressure, closing while somebody waits."""

import asyncio
import os

from services.nodeagent.runtime.pipes import ReadEnd, WriteEnd


async def test_a_reader_waits_for_data_and_sees_the_end() -> None:
    into, out = os.pipe()
    end = ReadEnd(into)
    waiting = asyncio.ensure_future(end.read())
    await asyncio.sleep(0)
    os.write(out, b"data")
    assert await waiting == b"data"
    os.close(out)
    assert await end.read() == b""
    end.close()


async def test_a_writer_waits_until_there_is_room() -> None:
    into, out = os.pipe()
    end, reader = WriteEnd(out), ReadEnd(into)
    writing = asyncio.ensure_future(end.write(b"x" * 1_000_000))
    received = 0
    while received < 1_000_000:
        received += len(await reader.read())
    assert await writing
    end.close()
    reader.close()


async def test_writing_to_nobody_is_no_error() -> None:
    into, out = os.pipe()
    os.close(into)
    end = WriteEnd(out)
    assert not await end.write(b"x")
    end.close()
    assert not await end.write(b"x")


async def test_closing_wakes_whoever_waits() -> None:
    into, out = os.pipe()
    end = ReadEnd(into)
    waiting = asyncio.ensure_future(end.read())
    await asyncio.sleep(0)
    end.close()
    assert await waiting == b""
    end.close()
    os.close(out)


async def test_a_console_whose_process_has_gone_reads_as_ended() -> None:
    master, slave = os.openpty()
    os.close(slave)
    end = ReadEnd(master)
    assert await end.read() == b""
    end.close()
