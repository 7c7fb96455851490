"""The closing line of a run that consists of several."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.outcomes import FILE, closing_line, found, leave


def test_what_runs_leave_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = Counter[str]()
    for name, left in (("one", {"passed": 3, "skipped": 1}), ("two", {"passed": 4, "failed": 2})):
        monkeypatch.setenv(FILE, str(tmp_path / name))
        leave(Counter(left))
        outcomes.update(found(tmp_path / name, 0))
    assert closing_line(outcomes) == "7 passed, 2 failed, 1 skipped"


def test_a_run_that_broke_off_counts_as_a_failure(tmp_path: Path) -> None:
    assert found(tmp_path / "missing", 3) == {"failed": 1}
    (tmp_path / "left").write_text(json.dumps({"passed": 5}))
    assert found(tmp_path / "left", 2) == {"passed": 5, "failed": 1}
    assert found(tmp_path / "left", 0) == {"passed": 5}


def test_a_run_by_itself_says_how_it_ended(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE, raising=False)
    leave(Counter({"passed": 2}))
    assert capsys.readouterr().out == "2 passed, 0 failed\n"
