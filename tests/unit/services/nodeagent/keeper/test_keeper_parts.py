"""The keeper's small parts: loop, records, overlay options, paths inside a root, the pause program."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from services.nodeagent.keeper import pause, pidfds, process, rootfs, sandboxes
from services.nodeagent.keeper.logfile import LogFile
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.store import Store, check_id
from services.nodeagent.keeper.streams import Output
from services.nodeagent.runtime.model import SandboxSpec


def test_timers_run_in_their_order_and_not_when_cancelled() -> None:
    loop, seen = Loop(), []
    loop.after(0.002, lambda: seen.append("second"))
    loop.after(0.001, lambda: seen.append("first"))
    loop.after(0.0, lambda: seen.append("never")).cancel()
    loop.after(0.003, loop.stop)
    loop.run()
    loop.close()
    assert seen == ["first", "second"]


def test_a_callback_that_fails_does_not_end_the_loop(capfd: pytest.CaptureFixture[str]) -> None:
    loop, seen = Loop(), []
    loop.after(0, lambda: print(1 // 0))
    loop.after(0.001, lambda: seen.append("after"))
    loop.after(0.002, loop.stop)
    loop.run()
    loop.close()
    assert seen == ["after"]
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_descriptor_forgotten_in_the_same_turn_is_not_called_back() -> None:
    loop, seen = Loop(), []
    pipes = [os.pipe() for _ in range(2)]

    def on_ready(own: int, other: int) -> None:
        seen.append(own)
        loop.forget(other)

    for (own, out), (other, _out) in zip(pipes, reversed(pipes), strict=True):
        os.write(out, b"x")
        loop.watch(own, lambda _events, a=own, b=other: on_ready(a, b))  # type: ignore[misc]
    loop.turn(1.0)
    loop.close()
    assert len(seen) == 1
    for pair in pipes:
        for fd in pair:
            os.close(fd)


def test_what_was_opened_in_a_turn_gets_nothing_that_was_meant_for_its_number() -> None:
    """Both pipes are ready. The first called back replaces the other one by one that is not."""
    loop, seen = Loop(), []
    pipes = [os.pipe() for _ in range(2)]
    ends = {fd for pair in pipes for fd in pair}

    def replace(other: int) -> None:
        loop.forget(other)
        os.close(other)
        ends.update(os.pipe())
        assert other in ends
        loop.watch(other, lambda _events: seen.append(other))

    for (own, out), (other, _out) in zip(pipes, reversed(pipes), strict=True):
        os.write(out, b"x")
        loop.watch(own, lambda _events, b=other: replace(b))  # type: ignore[misc]
    loop.turn(1.0)
    assert not seen
    loop.close()
    for fd in ends:
        os.close(fd)


def test_a_pipe_is_read_on_when_somebody_has_it_again(tmp_path: Path) -> None:
    loop, log = Loop(), LogFile(str(tmp_path / "log/0.log"))
    os.mkfifo(tmp_path / "fifo")

    def write(text: bytes) -> None:
        fd = os.open(tmp_path / "fifo", os.O_RDWR)
        output.resume()
        os.write(fd, text)
        loop.turn(1.0)
        os.close(fd)
        loop.turn(1.0)  # all have closed it

    output = Output(loop, "stdout", os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), log)
    write(b"first\n")
    write(b"second\n")
    output.finish()
    log.close()
    loop.close()
    assert [line.split()[3] for line in (tmp_path / "log/0.log").read_text().splitlines()] == ["first", "second"]


def test_later_changes_of_a_record_win(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "containers")
    store.save("a", {"spec": 1, "state": "created"})
    store.save("a", {"state": "running"})
    assert store.load() == {"a": {"spec": 1, "state": "running"}}


def test_a_torn_last_line_of_a_record_is_ignored(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "containers")
    store.save("a", {"state": "created"})
    with open(store.path("a", "record.jsonl"), "ab") as file:
        file.write(b'{"state":"runn')
    assert store.load() == {"a": {"state": "created"}}


def test_a_directory_without_a_record_is_reported_as_such(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "containers")
    os.mkdir(store.path("half"))
    assert store.load() == {"half": None}
    store.remove("half")
    assert store.load() == {}


def test_a_record_that_has_grown_long_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.nodeagent.keeper.store.COMPACT_BYTES", 1000)
    store = Store(str(tmp_path), "containers")
    for number in range(200):
        store.save("a", {"number": number, f"key{number % 3}": number})
    assert store.load() == {"a": {"number": 199, "key0": 198, "key1": 199, "key2": 197}}
    assert os.path.getsize(store.path("a", "record.jsonl")) < 1100


def test_records_are_for_root_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "containers")
    store.save("a", {"env": "secret"})
    assert os.stat(store.path("a")).st_mode & 0o077 == 0
    assert os.stat(store.path("a", "record.jsonl")).st_mode & 0o077 == 0


@pytest.mark.parametrize("value", ["", "..", "../x", "a/b", ".hidden", "x" * 129, "a\nb"])
def test_an_id_that_is_no_file_name_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="container id"):
        check_id(value, "container")


def test_overlay_options_are_given_up_when_they_cannot_be_written_down() -> None:
    assert rootfs.overlay_options(["/a", "/b"], "/u", "/w") == "lowerdir=/a:/b,upperdir=/u,workdir=/w,volatile"
    assert rootfs.overlay_options(["/a:b"], "/u", "/w") == ""
    assert rootfs.overlay_options(["/" + "x" * 100] * 50, "/u", "/w") == ""


def test_the_root_of_a_container_looks_like_that_of_its_top_layer(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    layer.chmod(0o711)
    upper, _work = rootfs.prepare_writable(str(tmp_path / "w"), [str(layer)])
    assert os.stat(upper).st_mode & 0o777 == 0o711


def open_target(root: Path, path: str, *, directory: bool) -> None:
    fd = os.open(root, os.O_PATH)
    os.close(rootfs.open_in_root(fd, path, directory=directory))
    os.close(fd)


def test_missing_targets_are_made_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/resolv.conf").symlink_to("../run/resolve/stub")
    (root / "var").symlink_to("/elsewhere")
    open_target(root, "/a/b/c", directory=True)
    open_target(root, "/etc/resolv.conf", directory=False)
    open_target(root, "/var/data", directory=True)
    open_target(root, "/../../up", directory=True)
    assert (root / "a/b/c").is_dir()
    assert (root / "run/resolve/stub").is_file()
    assert (root / "elsewhere/data").is_dir()
    assert (root / "up").is_dir()


def test_a_circle_of_links_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        open_target(tmp_path, "/a/c", directory=True)


def test_programs_are_looked_for_in_the_order_of_the_path() -> None:
    assert process.candidates("sh", "/bin::/usr/bin") == ["/bin/sh", "./sh", "/usr/bin/sh"]
    assert process.candidates("./sh", "/bin") == ["./sh"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pause_program_is_a_small_elf_file_for_its_machine(machine: str) -> None:
    image = pause.image(machine)
    assert image[:4] == b"\x7fELF"
    assert len(image) < 300
    entry = struct.unpack_from("Q", image, 24)[0]
    assert entry == 0x400000 + 120
    assert struct.unpack_from("QQ", image, 64 + 32) == (len(image), len(image))


def test_a_process_is_known_again_only_by_its_start_time() -> None:
    started = pidfds.start_time(os.getpid())
    fd = pidfds.open_again(os.getpid(), started)
    assert fd >= 0
    os.close(fd)
    assert pidfds.open_again(os.getpid(), started + 1) == -1
    assert pidfds.start_time(1 << 30) == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SandboxSpec("a", netns_name="x", cgroup="pods"), "cgroup 'pods' is not an absolute path"),
        (SandboxSpec("a", netns_name="x", cgroup="/a/../.."), "is not an absolute path below"),
        (SandboxSpec("a", netns_name="", cgroup="/a"), "network namespace name '' is not a file name"),
        (SandboxSpec("a", netns_name="x", cgroup="/a", sysctls={"vm.x": "1"}), r"sysctl vm\.x does not belong"),
        (SandboxSpec("a", host_network=True, cgroup="/a", sysctls={"net.x": "1"}), "not allowed with host network"),
        (SandboxSpec("a", netns_name="x", host_ipc=True, cgroup="/a", sysctls={"kernel.shmmax": "1"}), "with host IPC"),
    ],
)
def test_a_bad_sandbox_is_refused_by_name(spec: SandboxSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sandboxes.validate(spec)
