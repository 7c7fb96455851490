"""The command `wherry-runtime`: an OCI runtime for Docker, containerd, podman and people with a bundle.

Exit codes: 0, or that of the program for a foreground `run` and `exec`; 1 for what went wrong, told on stderr and in
the file of `--log`. Every command is a process of its own, so each imports only what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from services.nodeagent.oci import arguments
from services.nodeagent.oci.arguments import Arguments, UsageError
from services.nodeagent.oci.diary import Diary
from shared import quickjson
from shared.errors import WherryError
from shared.kernel import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from services.nodeagent.oci.creation import Wishes
    from services.nodeagent.oci.store import Record, Store

VERSION = "0.1.0"
USAGE = """usage: wherry-runtime [--root DIR] [--log FILE] [--log-format text|json] [--systemd-cgroup] COMMAND ...

  create [--bundle DIR] [--pid-file FILE] [--console-socket PATH] ID
  start ID
  run    [--bundle DIR] [--detach] [--keep] ID        create, start, wait for the end and delete
  state ID
  kill   [--all] ID [SIGNAL]
  pause ID, resume ID
  checkpoint [--image-path DIR] [--work-path DIR] [--leave-running] [--tcp-established] ID
  restore [--bundle DIR] [--image-path DIR] [--work-path DIR] [--pid-file FILE] [--detach] ID
  exec   [--process FILE] [--detach] [--tty] [--user UID[:GID]] [--env NAME=VALUE] [--cwd DIR] ID COMMAND ...
  update --resources FILE ID
  delete [--force] ID
  list   [--format table|json] [--quiet]
  ps     [--format table|json] ID
  features
"""


def main(words: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    diary = Diary()
    try:
        given = arguments.parse(sys.argv[1:] if words is None else words)
        diary = Diary(given.get("log"), given.get("log-format", "text"))
        if given.has("version"):
            from services.nodeagent.oci.config import VERSION_MAX

            print(f"wherry-runtime version {VERSION}\nspec: {VERSION_MAX}")
            return 0
        if given.has("help") or not given.command:
            print(USAGE, end="")
            return 0 if given.has("help") else 1
        from services.nodeagent.oci.store import DEFAULT_ROOT, Store

        return _COMMANDS[given.command](Store(given.get("root", DEFAULT_ROOT)), given, diary)
    except OSError as exc:
        where = f": {exc.filename}" if exc.filename and str(exc.filename) not in str(exc.strerror) else ""
        diary.fail(f"{(exc.strerror or str(exc)).lower() if where else exc.strerror or exc}{where}")
    except (WherryError, ValueError, RuntimeError) as exc:
        diary.fail(str(exc))
    return 1


def _wishes(given: Arguments) -> Wishes:
    from services.nodeagent.oci.creation import Wishes

    preserved = given.get("preserve-fds", "0")
    if not preserved.isdecimal():
        raise UsageError(f"--preserve-fds {preserved!r} is not a number")
    return Wishes(
        bundle=given.get("bundle", "."),
        pid_file=given.get("pid-file"),
        console_socket=given.get("console-socket"),
        systemd_cgroup=given.has("systemd-cgroup"),
        keep_keyring=given.has("no-new-keyring"),
        preserved=int(preserved),
    )


def _create(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import creation

    creation.create(store, given.id(), _wishes(given), diary)
    return 0


def _start(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import lifecycle

    lifecycle.start(store, given.id(), diary)
    return 0


def _run(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import creation, lifecycle

    container_id, wishes = given.id(), _wishes(given)
    if given.has("detach"):
        creation.create(store, container_id, wishes, diary)
        try:
            lifecycle.start(store, container_id, diary)
        except BaseException:
            lifecycle.delete(store, container_id, diary, force=True)
            raise
        return 0
    record, console = creation.create_attached(store, container_id, wishes, diary)
    try:
        _forward_signals(record)
        lifecycle.start(store, container_id, diary)
        return _accompany(record.pid, console)
    finally:
        if not given.has("keep"):
            lifecycle.delete(store, container_id, diary, force=True)


def _forward_signals(record: Record) -> None:
    """What would end this process is meant for the container's."""

    def forward(number: int, _frame: object) -> None:
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            return

    for number in (signals.SIGTERM, signals.SIGINT, signals.SIGHUP, signals.SIGQUIT, signals.SIGUSR1, signals.SIGUSR2):
        signals.signal(number, forward)


def _accompany(pid: int, console: int) -> int:
    """Wait for the end of a child of this process; its code as a shell gives it."""
    if console >= 0:
        from services.nodeagent.oci import consoles

        consoles.join(console)
        os.close(console)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _state(store: Store, given: Arguments, _diary: Diary) -> int:
    record = store.load(given.id())
    import json  # this alone indents

    print(json.dumps(store.state(record), indent=2))
    return 0


def _kill(store: Store, given: Arguments, _diary: Diary) -> int:
    from services.nodeagent.oci import lifecycle

    rest = [word for word in given.rest if word]
    if not rest:
        raise UsageError("kill: the id of the container is missing")
    number = lifecycle.number_of(rest[1] if len(rest) > 1 else "SIGTERM")
    lifecycle.kill(store, rest[0], number, everything=given.has("all"))
    return 0


def _delete(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import lifecycle

    lifecycle.delete(store, given.id(), diary, force=given.has("force"))
    return 0


def _pause(store: Store, given: Arguments, _diary: Diary) -> int:
    from services.nodeagent.oci import lifecycle

    lifecycle.freeze(store, given.id(), frozen=True)
    return 0


def _resume(store: Store, given: Arguments, _diary: Diary) -> int:
    from services.nodeagent.oci import lifecycle

    lifecycle.freeze(store, given.id(), frozen=False)
    return 0


# criu's options that are passed on, and runc's that have no meaning here but would change what is done
_PASSED = {"ext-unix-sk", "link-remap", "shell-job", "tcp-established"}
_REFUSED = ("auto-dedup", "lazy-pages", "page-server", "parent-path", "pre-dump", "status-fd")


def _criu_options(given: Arguments) -> Any:
    from services.nodeagent.oci import checkpoints

    for name in _REFUSED:
        if given.has(name):
            raise UsageError(f"{given.command}: --{name} is not supported")
    passed = sorted(name for name in given.options if name in _PASSED)
    passed += ["skip-in-flight"] if given.has("tcp-skip-in-flight") else []
    return checkpoints.Options(
        given.get("image-path", "checkpoint"), given.get("work-path"), given.has("leave-running"), passed
    )


def _checkpoint(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import checkpoints

    checkpoints.checkpoint(store, given.id(), _criu_options(given), diary)
    return 0


def _restore(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import checkpoints, lifecycle

    record = checkpoints.restore(store, given.id(), _wishes(given), _criu_options(given), diary)
    if given.has("detach"):
        return 0
    try:
        _forward_signals(record)
        return _accompany(record.pid, -1)
    finally:
        lifecycle.delete(store, record.id, diary, force=True)


def _read(path: str) -> Any:
    if path == "-":
        return quickjson.loads(sys.stdin.read())
    with open(path, encoding="utf-8") as file:
        return quickjson.loads(file.read())


def _update(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import lifecycle

    if not given.has("resources"):
        raise UsageError("update: --resources is missing")
    lifecycle.update(store, given.id(), _read(given.get("resources")), diary)
    return 0


def _exec(store: Store, given: Arguments, diary: Diary) -> int:
    from services.nodeagent.oci import consoles, creation, joining

    if not given.rest:
        raise UsageError("exec: the id of the container is missing")
    request = joining.Request(
        document=_read(given.get("process")) if given.has("process") else None,
        args=given.rest[1:],
        cwd=given.get("cwd"),
        env=given.all("env"),
        user=given.get("user"),
        groups=[int(word) for value in given.all("additional-gids") for word in value.split(",")],
        capabilities=given.all("cap"),
        terminal=given.has("tty"),
        no_new_privileges=given.has("no-new-privs"),
        preserved=int(given.get("preserve-fds", "0")),
        ignore_paused=given.has("ignore-paused"),
    )
    if request.document is not None and given.has("tty"):
        request.document["terminal"] = True
    pid, console = joining.add(store, given.rest[0], request, diary)
    if console >= 0 and given.has("console-socket"):
        consoles.send_console(console, given.get("console-socket"))
        os.close(console)
        console = -1
    if given.has("pid-file"):
        creation.write_pid_file(given.get("pid-file"), pid)
    return 0 if given.has("detach") else _accompany(pid, console)


def _list(store: Store, given: Arguments, _diary: Diary) -> int:
    rows = []
    for container_id in store.ids():
        try:
            record = store.load(container_id)
        except WherryError:
            continue  # deleted just now
        rows.append(store.state(record) | {"rootfs": record.root, "created": record.created, "owner": "root"})
    if given.has("quiet"):
        print("".join(f"{row['id']}\n" for row in rows), end="")
    elif given.get("format") == "json":
        print(quickjson.dumps(rows))
    else:
        _table(
            [("ID", "PID", "STATUS", "BUNDLE", "CREATED")]
            + [tuple(str(row[key]) for key in ("id", "pid", "status", "bundle", "created")) for row in rows]
        )
    return 0


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def _ps(store: Store, given: Arguments, _diary: Diary) -> int:
    pids = store.load(given.rest[0] if given.rest else given.id()).groups().processes()
    if given.get("format") == "json":
        print(quickjson.dumps(pids))
        return 0
    rows: list[tuple[str, ...]] = [("PID", "CMD")]
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                rows.append((str(pid), " ".join(file.read().split("\0")).strip()))
        except OSError:
            continue  # ended just now
    _table(rows)
    return 0


def _features(_store: Store, _given: Arguments, _diary: Diary) -> int:
    import json

    from services.nodeagent.oci import features

    print(json.dumps(features.document(), indent=2))
    return 0


_COMMANDS: dict[str, Callable[[Store, Arguments, Diary], int]] = {
    "checkpoint": _checkpoint,
    "create": _create,
    "delete": _delete,
    "exec": _exec,
    "features": _features,
    "kill": _kill,
    "list": _list,
    "pause": _pause,
    "ps": _ps,
    "restore": _restore,
    "resume": _resume,
    "run": _run,
    "start": _start,
    "state": _state,
    "update": _update,
}
