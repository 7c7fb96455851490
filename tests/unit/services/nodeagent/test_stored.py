from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.nodeagent import stored
from shared.kernel import syscalls


@pytest.mark.parametrize("durable", [False, True])
def test_a_document_takes_the_place_of_another_and_leaves_nothing_beside_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "made/on/the/way/record.json"
    for number in range(3):
        stored.write(path, {"number": number, "text": "é"}, durable=durable)
        assert stored.read(path) == {"number": number, "text": "é"}
        assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_left_is_no_part_of_the_next_document(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    (tmp_path / ".record.json.partial").write_text("x" * 1000)
    stored.write(path, {"number": 1})
    assert stored.read(path) == {"number": 1}
    assert not (tmp_path / ".record.json.partial").exists()


def test_a_file_system_that_cannot_exchange_names_has_them_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_first: str, second: str) -> None:
        raise OSError(errno.EINVAL, "invalid argument", second)

    monkeypatch.setattr(syscalls, "exchange", refuse)
    for number in range(2):
        stored.write(tmp_path / "record.json", number)
        assert stored.read(tmp_path / "record.json") == number


def test_threads_that_write_one_document_do_not_get_into_each_other_s_way(tmp_path: Path) -> None:
    path = tmp_path / "record.json"

    def write(number: int) -> None:
        for _ in range(50):
            stored.write(path, [number] * 1000, durable=number == 0)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write, number) for number in range(3)]:
            done.result()
    assert stored.read(path) in [[number] * 1000 for number in range(3)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_damaged_document_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"half": ')
    assert stored.read(tmp_path / "record.json") is None
    assert stored.read(tmp_path / "missing.json") is None
