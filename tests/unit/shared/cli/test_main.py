"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared.cli.main import COMMANDS, parser


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_known_by_the_module_that_describes_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser(command).parse_args([command, "--help"])
    assert f"usage: wherry {command} " in capsys.readouterr().out


def test_help_lists_every_command() -> None:
    text = parser().format_help()
    assert all(f"    {command}" in text for command in COMMANDS)


def test_a_command_imports_its_own_module_alone() -> None:
    script = "import sys; from shared.cli.main import parser; parser('check'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "shared.cli.check" in loaded
    assert not loaded & {"shared.cli.up", "shared.cli.images", "cryptography", "nats"}
