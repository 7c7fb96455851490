"""`wherry image`: which registry it talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cli.main import main


def test_the_cluster_of_data_wins_over_the_registry_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHERRY_REGISTRY", "192.0.2.1:5000")
    assert main(["image", "ls", "--data", str(tmp_path)]) == 1
    assert f"there is no cluster in {tmp_path}" in capsys.readouterr().err
