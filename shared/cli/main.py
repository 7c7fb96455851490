"""The `wherry` command: starts and inspects a cluster. It starts services as processes and never imports one."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from shared.cli import access, backup, check, down, history, images, logs, node, pods, restore, status, up
from shared.errors import WherryError


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="wherry",
        description="A container cluster that speaks the Kubernetes API and keeps all state in one event log.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    up.add_parser(commands)
    down.add_parser(commands)
    status.add_parser(commands)
    check.add_parser(commands)
    node.add_parser(commands)
    access.add_parsers(commands)
    images.add_parser(commands)
    logs.add_parser(commands)
    history.add_parsers(commands)
    backup.add_parser(commands)
    restore.add_parser(commands)
    pods.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that a user can act on are one sentence on standard error and exit code 1."""
    args = parser().parse_args(arguments)
    # it warns of every TLS connection that ends
    logging.getLogger("asyncio").setLevel(logging.ERROR)
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
