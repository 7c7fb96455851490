"""The `wherry` command: starts and inspects a cluster. It starts services as processes and never imports one.

Only the module of the command that was asked for is imported: all of them together take longer to import than most
commands take to run.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from shared.errors import WherryError

# command -> module of this package, whose `add_parsers` describes it, in the order in which help lists them
COMMANDS = {
    "up": "up",
    "down": "down",
    "status": "status",
    "check": "check",
    "node": "node",
    "kubeconfig": "access",
    "token": "access",
    "image": "images",
    "logs": "logs",
    "history": "history",
    "diff": "history",
    "get": "history",
    "backup": "backup",
    "restore": "restore",
    "pod": "pods",
}


def parser(command: str = "") -> argparse.ArgumentParser:
    """The command line of one command, or of all for anything that is none."""
    top = argparse.ArgumentParser(
        prog="wherry",
        description="A container cluster that speaks the Kubernetes API and keeps all state in one event log.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in [COMMANDS[command]] if command in COMMANDS else dict.fromkeys(COMMANDS.values()):
        importlib.import_module(f"shared.cli.{module}").add_parsers(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a user can act on are one sentence on standard error and exit code 1."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    args = parser(words[0] if words else "").parse_args(words)
    try:
        return int(args.func(args))
    except WherryError as exc:
        print(f"wherry: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; without this the interpreter complains while it flushes at exit.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
