"""Containers on the real kernel: what a program inside sees, and what is told of its end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from services.nodeagent.runtime.client import StartError, UnknownId
from services.nodeagent.runtime.model import Capabilities, Mount, Resources, Rlimit
from shared.kernel import mounts, syscalls
from tests.integration.runtime.conftest import BY_KEEPER, Node, both_ways, eventually, skip_without_loop_devices

pytestmark = pytest.mark.root


@both_ways()
async def test_a_program_runs_as_process_1_and_its_exit_code_is_reported(node: Node) -> None:
    await node.sandbox()
    state, output = await node.run("c", "sh", "-c", "echo pid $$; exit 7")
    assert output == "pid 1\n"
    assert (state.state, state.exit_code, state.signal, state.oom_killed) == ("exited", 7, 0, False)
    assert state.created_at <= state.started_at <= state.finished_at


@both_ways()
async def test_a_signal_is_reported_as_128_and_its_number(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    await node.runtime.signal("c", signal.SIGKILL)
    state = await node.exit_of("c")
    assert (state.exit_code, state.signal) == (137, 9)


@both_ways(second_attempt=True)
async def test_a_missing_program_is_error_127_and_remembered(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(StartError, match=r'exec: "nosuch": executable file not found in \$PATH') as caught:
        await node.start("c", "nosuch")
    assert caught.value.exit_code == 127
    _sandboxes, containers = await node.runtime.list()
    assert [(item.state, item.exit_code) for item in containers] == [("exited", 127)]


@both_ways(second_attempt=True)
async def test_a_program_without_execute_permission_is_error_126(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(StartError, match=r'exec: "/etc/passwd": permission denied') as caught:
        await node.start("c", "/etc/passwd")
    assert caught.value.exit_code == 126


@both_ways(second_attempt=True)
async def test_a_missing_interpreter_is_not_taken_for_a_missing_program(node: Node, tmp_path: Path) -> None:
    layer = tmp_path / "layer/bin"
    layer.mkdir(parents=True)
    (layer / "script").write_text("#!/no/such/shell\n")
    (layer / "script").chmod(0o755)
    await node.sandbox()
    with pytest.raises(StartError, match="interpreter not found") as caught:
        await node.start("c", "script", lower=[str(layer.parent)])
    assert caught.value.exit_code == 127


@both_ways(second_attempt=True)
async def test_a_mount_that_cannot_be_made_is_named_in_the_error(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(StartError, match=r"opening /no/such/directory for /data: no such file or directory") as caught:
        await node.start("c", "true", mounts=[Mount("/no/such/directory", "/data")])
    assert caught.value.exit_code == 128


async def test_starting_a_known_container_again_starts_nothing(node: Node) -> None:
    await node.sandbox()
    first = await node.start("c", "sleep", "1000")
    second = await node.start("c", "sleep", "1000")
    assert second.pid == first.pid


async def test_a_start_in_an_unknown_sandbox_is_refused(node: Node) -> None:
    with pytest.raises(UnknownId):
        await node.start("c", "true", sandbox_id="nosuch")


@both_ways()
async def test_a_container_sees_only_its_own_processes_and_the_hostname_of_the_pod(node: Node) -> None:
    await node.sandbox(hostname="web-0")
    output = await node.shell("hostname; ls /proc | grep -c '^[0-9]*$'; echo $HOSTNAME")
    assert output.splitlines()[0] == "web-0"
    assert int(output.splitlines()[1]) <= 4
    assert output.splitlines()[2] == "web-0"


@both_ways()
async def test_standard_output_and_error_are_kept_apart_in_the_log(node: Node) -> None:
    await node.sandbox()
    await node.shell("echo out; echo err >&2")
    lines = [line.split(" ", 1)[1] for line in node.log_file("c").read_text().splitlines()]
    assert sorted(lines) == ["stderr F err", "stdout F out"]


@both_ways()
async def test_dev_stdout_can_be_opened_again_by_another_user(node: Node) -> None:
    await node.sandbox()
    output = await node.shell("echo one > /dev/stdout; echo two > /proc/self/fd/1", uid=1000, gid=1000)
    assert output == "one\ntwo\n"


@both_ways()
async def test_what_is_written_just_before_the_end_is_logged_whole(node: Node) -> None:
    await node.sandbox()
    output = await node.shell("seq 1 20000; printf end")
    lines = output.splitlines()
    assert lines[:20000] == [str(number) for number in range(1, 20001)]
    assert lines[20000:] == ["end"]


@both_ways()
async def test_the_root_is_writable_and_the_layer_stays_untouched(node: Node) -> None:
    await node.sandbox()
    await node.shell("echo new > /file; rm /etc/group")
    assert not (node.layer / "file").exists()
    assert (node.layer / "etc/group").exists()
    assert (node.directory / "writable/c/upper/file").read_text() == "new\n"


@both_ways()
async def test_upper_layers_cover_lower_ones(node: Node, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc/passwd").write_text("covered\n")
    await node.sandbox()
    assert await node.shell("cat /etc/passwd", lower=[str(top), str(node.layer)]) == "covered\n"


@both_ways()
async def test_many_layers_with_long_and_odd_names_can_be_mounted(node: Node, tmp_path: Path) -> None:
    layers = []
    for number in range(100):
        layer = tmp_path / f"{'x' * 80}:,{number}"
        layer.mkdir()
        (layer / f"file-{number}").touch()
        layers.append(str(layer))
    await node.sandbox()
    output = await node.shell("ls / | grep -c file-", lower=[*layers, str(node.layer)])
    assert output == "100\n"


@both_ways()
async def test_a_read_only_root_refuses_writes_but_volumes_do_not(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    await node.sandbox()
    script = "touch /x 2>/dev/null && echo writable; touch /data/y && echo volume; touch /dev/shm/z && echo shm"
    output = await node.shell(script, read_only_root=True, mounts=[Mount(str(volume), "/data")])
    assert output == "volume\nshm\n"


@both_ways()
async def test_a_read_only_mount_is_read_only_with_everything_below(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    await node.sandbox()
    output = await node.shell(
        "touch /data/x 2>/dev/null || echo refused", mounts=[Mount(str(volume), "/data", read_only=True)]
    )
    assert output == "refused\n"


@both_ways()
async def test_a_file_can_be_mounted_on_a_path_that_does_not_exist(node: Node, tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text("127.0.0.1 localhost\n")
    await node.sandbox()
    output = await node.shell("cat /made/up/hosts", mounts=[Mount(str(source), "/made/up/hosts", read_only=True)])
    assert output == "127.0.0.1 localhost\n"


@both_ways(second_attempt=True)
async def test_a_mount_target_that_is_a_link_to_the_host_stays_inside_the_root(node: Node, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layer = tmp_path / "evil"
    layer.mkdir()
    (layer / "absolute").symlink_to(outside)
    (layer / "relative").symlink_to("../../../../../../../.." + str(outside))
    (layer / "dangling").symlink_to("/run/nowhere/file")
    source = tmp_path / "source"
    source.write_text("mounted\n")
    await node.sandbox()
    output = await node.shell(
        f"cat {outside}/a {outside}/b /run/nowhere/file",
        lower=[str(layer), str(node.layer)],
        mounts=[
            Mount(str(source), "/absolute/a"),
            Mount(str(source), "/relative/b"),
            Mount(str(source), "/dangling"),
        ],
    )
    assert output == "mounted\n" * 3
    assert list(outside.iterdir()) == []


async def test_a_sub_path_that_leads_out_of_its_volume_is_refused(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "inner").mkdir(parents=True)
    (volume / "inner/file").write_text("inner\n")
    (volume / "out").symlink_to("/etc")
    await node.sandbox()
    output = await node.shell("cat /data/file", mounts=[Mount(str(volume), "/data", sub_path="inner")])
    assert output == "inner\n"
    with pytest.raises(StartError, match="opening"):
        await node.start("bad", "true", mounts=[Mount(str(volume), "/data", sub_path="out")])


@both_ways(second_attempt=True)
async def test_a_missing_sub_path_is_made(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    await node.sandbox()
    await node.shell("touch /data/file", mounts=[Mount(str(volume), "/data", sub_path="a/b")])
    assert (volume / "a/b/file").exists()


@both_ways()
async def test_a_tmpfs_mount_has_its_size_and_mode(node: Node) -> None:
    await node.sandbox()
    mount = Mount("", "/scratch", kind="tmpfs", options=["size=64k", "mode=0700", "noexec"])
    output = await node.shell("grep ' /scratch ' /proc/mounts; stat -c %a /scratch", mounts=[mount])
    assert "size=64k" in output
    assert "noexec" in output
    assert output.splitlines()[-1] == "700"


@both_ways()
async def test_a_shared_mount_carries_new_mounts_to_the_host(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    mounts.bind(str(volume), str(volume))
    syscalls.mount("", str(volume), "", syscalls.MS_SHARED)
    try:
        await node.sandbox()
        mount = Mount(str(volume), "/data", propagation="shared")
        script = "mkdir /data/inner && mount -t tmpfs x /data/inner"
        await node.shell(script, mounts=[mount], privileged=True)
        assert mounts.is_mount_point(volume / "inner")
    finally:
        mounts.unmount_below(volume)


@both_ways()
async def test_default_capabilities_are_dockers(node: Node) -> None:
    await node.sandbox()
    output = await node.shell("grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | awk '{print $2}'")
    assert output.split() == ["0" * 16, "00000000a80425fb", "00000000a80425fb", "00000000a80425fb", "0" * 16]


@both_ways()
async def test_a_user_has_no_capabilities_and_its_groups(node: Node) -> None:
    await node.sandbox()
    script = "id -u; id -G; grep CapEff /proc/self/status | awk '{print $2}'"
    output = await node.shell(script, uid=1000, gid=1000, groups=[1000, 2000])
    assert output.splitlines() == ["1000", "1000 2000", "0" * 16]


async def test_home_is_what_the_containers_own_users_say_unless_it_is_given(node: Node) -> None:
    await node.sandbox()
    options = {"uid": 1000, "gid": 1000}
    assert await node.shell("echo $HOME", name="a", env=BY_KEEPER, **options) == "/home/app\n"
    assert await node.shell("echo $HOME", name="b", env=BY_KEEPER | {"HOME": "/given"}, **options) == "/given\n"


@both_ways()
async def test_dropping_all_and_adding_one_leaves_one(node: Node) -> None:
    await node.sandbox()
    output = await node.shell(
        "grep CapEff /proc/self/status | awk '{print $2}'",
        capabilities=Capabilities(add=["NET_BIND_SERVICE"], drop=["ALL"]),
    )
    assert output == f"{1 << 10:016x}\n"


@both_ways()
async def test_no_new_privileges_is_set_when_asked_for(node: Node) -> None:
    await node.sandbox()
    output = await node.shell("grep NoNewPrivs /proc/self/status", no_new_privileges=True)
    assert output.split() == ["NoNewPrivs:", "1"]


@both_ways()
async def test_seccomp_refuses_new_namespaces_and_mounts(node: Node) -> None:
    await node.sandbox()
    everything = Capabilities(add=["SYS_CHROOT"])
    script = "grep Seccomp: /proc/self/status; unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; true"
    output = await node.shell(script, capabilities=everything)
    assert output.splitlines()[0].split() == ["Seccomp:", "2"]
    assert output.count("Operation not permitted") + output.count("permission denied") == 2


@both_ways()
async def test_a_privileged_container_is_not_confined(node: Node) -> None:
    await node.sandbox()
    script = "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp && echo mounted; test -w /proc/sys && echo rw"
    output = await node.shell(script, privileged=True)
    assert output.splitlines() == ["Seccomp:\t0", "mounted", "rw"]


@both_ways()
async def test_secrets_of_the_kernel_are_hidden_and_switches_are_read_only(node: Node) -> None:
    await node.sandbox()
    script = (
        "wc -c < /proc/keys; ls -A /sys/firmware /proc/acpi | grep -v : | wc -w; "
        "(echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo refused; "
        "(echo b > /proc/sysrq-trigger) 2>/dev/null || echo refused; "
        "mkdir /sys/fs/cgroup/pids/x 2>/dev/null || echo refused"
    )
    output = await node.shell(script)
    assert output.split() == ["0", "0", "refused", "refused", "refused"]


@both_ways()
async def test_a_device_made_by_the_container_can_be_opened_only_if_it_is_a_standard_one(node: Node) -> None:
    skip_without_loop_devices()
    await node.sandbox()
    script = (
        "mknod /disk b 7 0 && echo made; (: < /disk) 2>/dev/null || echo refused; "
        "mknod /zero c 1 5 && head -c 3 /zero | wc -c"
    )
    output = await node.shell(script)
    assert output.split() == ["made", "refused", "3"]


@both_ways()
async def test_standard_devices_are_there_and_usable_by_anybody(node: Node) -> None:
    await node.sandbox()
    script = (
        "echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; "
        "readlink /dev/fd; readlink /dev/ptmx; test -d /dev/mqueue && test -w /dev/shm && echo shm"
    )
    output = await node.shell(script, uid=1000, gid=1000)
    assert output.split() == ["2", "2", "/proc/self/fd", "pts/ptmx", "shm"]


@both_ways()
async def test_a_missing_working_directory_is_made(node: Node) -> None:
    await node.sandbox()
    assert await node.shell("pwd", cwd="/deep/in/side") == "/deep/in/side\n"


@both_ways(second_attempt=True)
async def test_a_working_directory_outside_of_the_root_cannot_be_reached(node: Node) -> None:
    await node.sandbox()
    for number in range(3, 12):
        name = f"c{number}"
        with pytest.raises(StartError):
            await node.start(name, "true", cwd=f"/proc/self/fd/{number}")


@both_ways()
async def test_no_descriptor_of_the_keeper_reaches_the_container(node: Node) -> None:
    await node.sandbox()
    output = await node.shell("cd /proc/self/fd; echo *")
    assert set(output.split()) <= {"0", "1", "2", "3"}  # 3 is the shell's own, of the directory it lists


@both_ways()
async def test_the_keepers_interpreter_can_only_be_reached_read_only(node: Node) -> None:
    assert node.process is not None
    assert os.statvfs(f"/proc/{node.process.pid}/exe").f_flag & os.ST_RDONLY


@both_ways()
async def test_umask_and_resource_limits_apply(node: Node) -> None:
    await node.sandbox()
    output = await node.shell("umask; ulimit -n", umask=0o077, rlimits={"nofile": Rlimit(123, 456)})
    assert output.split() == ["0077", "123"]


@both_ways()
async def test_a_limit_above_what_the_host_permits_is_lowered_with_a_warning(node: Node) -> None:
    if resource.getrlimit(resource.RLIMIT_NPROC)[1] == resource.RLIM_INFINITY:
        pytest.skip("this host limits nothing")
    await node.sandbox()
    state = await node.start("c", "sleep", "1000", rlimits={"nproc": Rlimit(-1, -1)})
    assert state.state == "running"


@both_ways()
async def test_an_oom_score_that_the_host_forbids_is_a_warning(node: Node) -> None:
    await node.sandbox()
    state = await node.start("c", "sleep", "1000", oom_score_adj=-900)
    score = Path(f"/proc/{state.pid}/oom_score_adj").read_text().strip()
    assert score == "-900" or any("oom_score_adj -900" in warning for warning in state.warnings)
    other = await node.start("d", "sleep", "1000", oom_score_adj=1000)
    assert Path(f"/proc/{other.pid}/oom_score_adj").read_text() == "1000\n"


@both_ways()
async def test_a_container_above_its_memory_limit_is_reported_as_killed_for_memory(node: Node) -> None:
    await node.sandbox()
    state, _output = await node.run(
        "c", "sh", "-c", "head -c 100m /dev/zero | tail", resources=Resources(memory_bytes=16 << 20)
    )
    assert state.oom_killed
    assert state.exit_code != 0


@both_ways()
async def test_a_process_limit_is_kept(node: Node) -> None:
    await node.sandbox()
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo started"
    state, output = await node.run("c", "sh", "-c", script, resources=Resources(pids=4))
    assert state.exit_code != 0
    assert "fork" in output


@both_ways()
async def test_limits_are_visible_inside_and_can_be_changed(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000", resources=Resources(memory_bytes=64 << 20, pids=50))
    stats = await node.runtime.stats("c")
    assert (stats.memory_limit_bytes, stats.pids_limit) == (64 << 20, 50)
    await node.runtime.update_resources("c", Resources(memory_bytes=128 << 20))
    stats = await node.runtime.stats("c")
    assert (stats.memory_limit_bytes, stats.pids_limit) == (128 << 20, 50)


@both_ways()
async def test_statistics_count_what_a_container_uses(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "while :; do :; done")

    async def busy() -> bool:
        return (await node.runtime.stats("c")).cpu_ns > 20_000_000

    await eventually(busy, "some use of the CPU")
    stats = await node.runtime.stats("c")
    assert stats.pids == 1
    assert stats.memory_bytes > 0
    assert stats.working_set_bytes <= stats.memory_bytes
    assert list(await node.runtime.stats_all()) == ["c"]


@both_ways()
async def test_a_paused_container_stands_still_and_can_be_killed(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "while :; do echo tick; done")
    await node.runtime.pause("c")
    first = (await node.runtime.stats("c")).cpu_ns
    second = (await node.runtime.stats("c")).cpu_ns
    assert second - first < 5_000_000
    assert (await node.runtime.list())[1][0].paused
    await node.runtime.signal("c", signal.SIGKILL)
    assert (await node.exit_of("c")).signal == 9


@both_ways()
async def test_removing_a_running_container_ends_all_its_processes(node: Node) -> None:
    await node.sandbox()
    state = await node.start("c", "sh", "-c", "sleep 1000 & sleep 1000 & wait")
    await node.runtime.remove_container("c")
    assert not Path(f"/proc/{state.pid}").exists()
    assert (await node.runtime.list())[1] == []
    await node.runtime.remove_container("c")


@both_ways()
async def test_a_container_that_ignores_sigterm_is_ended_by_sigkill(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
    await eventually(lambda: node.log_file("c").exists() and "ready" in node.output("c"), "readiness")
    await node.runtime.signal("c", signal.SIGTERM)
    await node.runtime.signal("c", 0)
    await node.runtime.signal("c", signal.SIGKILL)
    assert (await node.exit_of("c")).signal == 9


async def test_fifty_containers_start_in_parallel(node: Node) -> None:
    await node.sandbox()
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(node.start(f"c{number}", "sh", "-c", f"echo {number}"), name=f"c{number}")
    for number in range(50):
        state = await node.exit_of(f"c{number}")
        assert state.exit_code == 0
        assert node.output(f"c{number}") == f"{number}\n"
