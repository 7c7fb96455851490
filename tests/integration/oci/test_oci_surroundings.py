"""What a program sees around itself (config.md, config-linux.md)."""

import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci.conftest import Bundle, command

pytestmark = pytest.mark.root

KINDS = {"cgroup": "cgroup", "ipc": "ipc", "mount": "mnt", "network": "net", "pid": "pid", "uts": "uts"}


def namespaces(pid: int | str) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{name}") for kind, name in KINDS.items()}


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "none", "source": str(source), "options": ["bind", *options]}


def test_namespaces_are_new_when_listed_and_the_caller_s_when_not(bundle: Bundle) -> None:
    bundle.linux["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    del bundle.config["hostname"]
    bundle.create()
    theirs, ours = namespaces(bundle.state()["pid"]), namespaces("self")
    assert {kind for kind in KINDS if theirs[kind] != ours[kind]} == {"mount", "pid"}


def test_without_any_namespace_the_root_is_changed_and_mounts_are_undone(bundle: Bundle) -> None:
    bundle.linux["namespaces"] = []
    del bundle.config["hostname"]
    bundle.shell("ls /; cat /proc/self/mountinfo | grep -c proc")
    bundle.create()
    assert namespaces(bundle.state()["pid"]) == namespaces("self")
    bundle.ok("start", bundle.id)
    bundle.wait_status("stopped")
    assert "bin" in (bundle.directory / "output").read_text().split()
    bundle.ok("delete", bundle.id)
    assert str(bundle.rootfs) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize(("kind", "option"), [("ipc", "-i"), ("network", "-n"), ("uts", "-u"), ("mount", "-m")])
def test_a_namespace_is_joined_by_its_path(bundle: Bundle, kind: str, option: str) -> None:
    other = subprocess.Popen(["unshare", option, "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        path = f"/proc/{other.pid}/ns/{KINDS[kind]}"
        listed = [entry for entry in bundle.linux["namespaces"] if entry["type"] != kind]
        bundle.linux["namespaces"] = [*listed, {"type": kind, "path": path}]
        bundle.create()
        assert os.readlink(f"/proc/{bundle.state()['pid']}/ns/{KINDS[kind]}") == os.readlink(path)
        bundle.ok("delete", "--force", bundle.id)
    finally:
        other.communicate(b"")


def test_a_path_of_another_type_is_refused(bundle: Bundle) -> None:
    bundle.linux["namespaces"] = [{"type": "mount"}, {"type": "ipc", "path": "/proc/self/ns/net"}]
    del bundle.config["hostname"]
    assert "/proc/self/ns/net" in bundle.foreground().stderr


def test_a_user_namespace_maps_ids(bundle: Bundle) -> None:
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux.update(uidMappings=mapping, gidMappings=mapping)
    bundle.shell("tr -s ' ' < /proc/self/uid_map; id; echo x > /dev/null; sleep 1000")
    bundle.create()
    assert os.stat(f"/proc/{bundle.state()['pid']}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino
    bundle.ok("start", bundle.id)
    assert "Uid:\t100000" in Path(f"/proc/{bundle.state()['pid']}/status").read_text()
    assert "uid=0" in bundle.ok("exec", bundle.id, "id")
    out = (bundle.directory / "output").read_text().split("\n")
    assert out[0].split() == ["0", "100000", "1000"]
    assert out[1].startswith("uid=0(root)")


def test_a_user_namespace_is_joined_by_its_path(bundle: Bundle) -> None:
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux.update(uidMappings=mapping, gidMappings=mapping)
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    first = bundle.state()["pid"]
    second = Bundle(bundle.directory / "second")
    second.linux["namespaces"].append({"type": "user", "path": f"/proc/{first}/ns/user"})
    second.shell("id; hostname")
    try:
        assert second.output().split() == ["uid=0(root)", "gid=0", "inside"]
    finally:
        second.delete()


def test_a_time_namespace_moves_the_clocks(bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000_000}}
    bundle.process["args"] = ["cat", "/proc/uptime"]
    assert float(bundle.output().split()[0]) > 1_000_000_000


def test_host_name_and_domain_name(bundle: Bundle) -> None:
    bundle.config["domainname"] = "example.test"
    bundle.shell("hostname; cat /proc/sys/kernel/domainname")
    assert bundle.output().split() == ["inside", "example.test"]


def test_default_devices_and_links_are_there(bundle: Bundle) -> None:
    bundle.shell("ls /dev; echo x > /dev/null; head -c 3 /dev/zero | wc -c; readlink /dev/ptmx")
    out = bundle.output().split()
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin"} <= set(out)
    assert out[-2:] == ["3", "pts/ptmx"]


def test_listed_devices_have_the_mode_and_owner_asked_for(bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/own", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/pipes/p", "type": "p"},
    ]
    bundle.shell("stat -c '%a %u %g %t:%T' /dev/own; stat -c %F /pipes/p")
    assert bundle.output().split("\n")[:2] == ["640 5 6 1:3", "fifo"]


def test_a_file_in_the_place_of_a_device_is_an_error(bundle: Bundle) -> None:
    (bundle.rootfs / "thing").write_text("")
    bundle.linux["devices"] = [{"path": "/thing", "type": "c", "major": 1, "minor": 3}]
    assert "not this device" in bundle.foreground().stderr


def test_mounts_are_made_in_the_listed_order(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("bound")
    bundle.config["mounts"] += [
        {"destination": "/a", "type": "tmpfs", "source": "first"},
        bind(tmp_path / "data", "/a/b", "ro"),
        {"destination": "/a/c", "type": "tmpfs", "source": "third", "options": ["size=16k", "noexec"]},
    ]
    bundle.shell("cat /a/b/file; echo; grep ' /a' /proc/self/mountinfo; touch /a/b/x 2>/dev/null || echo refused")
    first, *lines = bundle.output().strip().split("\n")
    assert first == "bound"
    assert [line.split()[4] for line in lines[:-1]] == ["/a", "/a/b", "/a/c"]
    assert "noexec" in lines[2]
    assert lines[-1] == "refused"


def test_a_target_behind_a_symbolic_link_stays_in_the_root(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "link").symlink_to(outside)
    bundle.config["mounts"].append({"destination": "/link/x", "type": "tmpfs", "source": "tmpfs"})
    bundle.output()
    assert list(outside.iterdir()) == []


def test_a_missing_source_is_named(bundle: Bundle) -> None:
    bundle.config["mounts"].append(bind("/no/such", "/x"))
    assert "mounts[4]: source /no/such" in bundle.foreground().stderr


def test_copying_up_fills_a_tmpfs_with_what_was_below(bundle: Bundle) -> None:
    (bundle.rootfs / "data/sub").mkdir(parents=True)
    (bundle.rootfs / "data/sub/file").write_text("kept")
    os.chown(bundle.rootfs / "data/sub/file", 7, 8)
    options = ["tmpcopyup", "mode=755"]
    bundle.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options})
    bundle.shell("cat /data/sub/file; echo; stat -c '%u %g' /data/sub/file; touch /data/new")
    assert bundle.output().split("\n")[:2] == ["kept", "7 8"]
    assert not (bundle.rootfs / "data/new").exists()


def test_a_read_only_root_and_masked_and_read_only_paths(bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.linux.update(maskedPaths=["/proc/kcore", "/etc", "/none"], readonlyPaths=["/proc/sys", "/none"])
    bundle.shell("touch /x; echo 1 > /proc/sys/kernel/sem; head -c 1 /proc/kcore | wc -c; ls /etc | wc -l")
    done = bundle.foreground()
    assert done.stdout.split() == ["0", "0"]
    assert done.stderr.count("ead-only file system") == 2


@pytest.mark.parametrize(("propagation", "tag"), [("shared", "shared:"), ("private", " / rw"), ("unbindable", "unb")])
def test_the_root_has_the_propagation_asked_for(bundle: Bundle, propagation: str, tag: str) -> None:
    bundle.linux["rootfsPropagation"] = propagation
    bundle.shell("grep ' / / \\| /rootfs / \\|rootfs / ' /proc/self/mountinfo | head -n 1")
    assert tag in bundle.output()


def test_kernel_parameters_of_its_namespaces(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}
    bundle.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax")
    assert bundle.output().split() == ["1", "4096"]


def test_limits_are_set_and_changed_in_its_control_groups(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    groups = Path(f"/proc/{bundle.state()['pid']}/cgroup").read_text()
    assert f"/{bundle.id}/container" in groups
    limit = next(Path("/sys/fs/cgroup").glob(f"**/{bundle.id}/container/pids.max"))
    assert limit.read_text() == "50\n"
    changes = bundle.directory / "changes.json"
    changes.write_text('{"pids": {"limit": 20}}')
    bundle.ok("update", "--resources", str(changes), bundle.id)
    assert limit.read_text() == "20\n"


def test_the_speed_of_a_device_is_limited(bundle: Bundle) -> None:
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("io.max is a file of cgroup2, which has no controllers here")
    if not Path("/sys/block/loop0").exists():
        pytest.skip("this host has no loop device to limit")
    device = {"major": 7, "minor": 0}
    throttle = {
        "throttleWriteBpsDevice": [device | {"rate": 1048576}],
        "throttleReadIOPSDevice": [device | {"rate": 9}],
    }
    bundle.linux["resources"] = {"blockIO": throttle}
    bundle.shell("sleep 1000")
    bundle.create()
    assert Path(f"/sys/fs/cgroup/{bundle.id}/container/io.max").read_text() == (
        "7:0 rbps=max wbps=1048576 riops=9 wiops=max\n"
    )


def test_weights_and_limits_of_huge_pages_are_set_in_the_second_generation(bundle: Bundle) -> None:
    root = Path("/sys/fs/cgroup")
    present = (root / "cgroup.controllers").read_text().split() if (root / "cgroup.controllers").exists() else []
    if not {"io", "hugetlb"} <= set(present):
        pytest.skip("cgroup2 of this host has no controllers for devices and huge pages")
    bundle.linux["resources"] = {
        "blockIO": {"weight": 500},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 8 << 20}],
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "unified": {"memory.min": str(4 << 20)},
    }
    bundle.shell("sleep 1000")
    bundle.create()
    group = root / bundle.id / "container"
    weight = "io.bfq.weight" if (group / "io.bfq.weight").exists() else "io.weight"
    shown = {name: (group / name).read_text() for name in (weight, "hugetlb.2MB.max", "memory.low", "memory.min")}
    assert shown == {
        weight: "default 500\n" if weight == "io.bfq.weight" else "default 4950\n",
        "hugetlb.2MB.max": f"{8 << 20}\n",
        "memory.low": f"{32 << 20}\n",
        "memory.min": f"{4 << 20}\n",
    }


def test_speed_and_weight_of_block_devices_and_memory_nodes_in_the_first_generation(bundle: Bundle) -> None:
    block, cpuset = Path("/sys/fs/cgroup/blkio"), Path("/sys/fs/cgroup/cpuset")
    if not ((block / "blkio.throttle.write_bps_device").exists() and (cpuset / "cpuset.mems").exists()):
        pytest.skip("this host has no blkio and cpuset of cgroup v1")
    disk = next((found for found in ("loop0", "vda", "sda") if Path(f"/sys/block/{found}").exists()), "")
    if not disk:
        pytest.skip("this host has no block device to limit")
    major, minor = map(int, Path(f"/sys/block/{disk}/dev").read_text().split(":"))
    device = {"major": major, "minor": minor}
    bundle.linux["resources"] = {
        "blockIO": {
            "throttleWriteBpsDevice": [device | {"rate": 1048576}],
            "throttleReadIOPSDevice": [device | {"rate": 9}],
        },
        "cpu": {"mems": "0"},
    }
    bundle.shell("sleep 1000")
    bundle.create()
    block, cpuset = block / bundle.id / "container", cpuset / bundle.id / "container"
    assert (block / "blkio.throttle.write_bps_device").read_text() == f"{major}:{minor} 1048576\n"
    assert (block / "blkio.throttle.read_iops_device").read_text() == f"{major}:{minor} 9\n"
    assert (cpuset / "cpuset.mems").read_text() == "0\n"
    if (block / "blkio.bfq.weight").exists():
        changes = bundle.directory / "changes.json"
        changes.write_text('{"blockIO": {"weight": 300}}')
        bundle.ok("update", "--resources", str(changes), bundle.id)
        assert (block / "blkio.bfq.weight").read_text() == "300\n"


def test_a_limit_that_the_host_cannot_set_is_refused_and_leaves_nothing(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": "3KB", "limit": 1}]}
    assert "hugepageLimits" in bundle.foreground().stderr
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{bundle.id}"))


def test_devices_that_are_denied_cannot_be_opened(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    bundle.linux["devices"] = [{"path": "/dev/loop0", "type": "b", "major": 7, "minor": 0}]
    bundle.shell("head -c 1 /dev/zero | wc -c; cat /dev/loop0")
    done = bundle.foreground()
    assert done.stdout.strip() == "1"
    assert "not permitted" in done.stderr


def test_identity_capabilities_and_limits_of_the_process(bundle: Bundle) -> None:
    sets = {name: ["CAP_KILL", "CAP_CHOWN"] for name in ("bounding", "effective", "permitted", "inheritable")}
    bundle.process.update(
        user={"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27},
        noNewPrivileges=True,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        oomScoreAdj=300,
        capabilities=sets | {"ambient": ["CAP_KILL"]},
    )
    bundle.shell(
        "id -u; id -g; id -G; umask; grep -E 'NoNewPrivs|Cap(Bnd|Eff|Amb)' /proc/self/status;"
        " ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; echo $HOME"
    )
    out = bundle.output().split("\n")
    assert out[:4] == ["1000", "1001", "1001 5 6", "0027"]
    assert [line.split()[1] for line in out[4:8]] == [
        "0000000000000020",
        "0000000000000021",
        "0000000000000020",
        "1",
    ]
    assert out[8:12] == ["100", "200", "300", "/home/app"]


def test_the_seccomp_filter_is_in_force(bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    bundle.shell("mkdir /x; touch /y; grep Seccomp: /proc/self/status")
    done = bundle.foreground()
    assert "not supported" in done.stderr
    assert done.stdout.split() == ["Seccomp:", "2"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"apparmorProfile": "none-such"}, "apparmorProfile"), ({"selinuxLabel": "a:b:c"}, "selinuxLabel")],
)
def test_labels_of_absent_security_modules_are_refused(bundle: Bundle, changes: dict[str, str], named: str) -> None:
    if Path("/sys/module/apparmor/parameters/enabled").exists() and named.startswith("app"):
        pytest.skip("this host has AppArmor")
    bundle.process.update(changes)
    assert named in bundle.foreground().stderr


def receive_console(path: Path, received: list[int]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)

    def accept() -> None:
        with listener, listener.accept()[0] as connection:
            received.extend(socket.recv_fds(connection, 4096, 1)[1])

    thread = threading.Thread(target=accept)
    thread.start()
    return thread


def read_all(master: int) -> bytes:
    data = b""
    while True:
        try:
            more = os.read(master, 4096)
        except OSError:
            return data
        if not more:
            return data
        data += more


def test_a_terminal_is_sent_to_the_console_socket(bundle: Bundle, tmp_path: Path) -> None:
    received: list[int] = []
    thread = receive_console(tmp_path / "s", received)
    bundle.process.update(terminal=True, consoleSize={"width": 90, "height": 30})
    bundle.shell("tty; stty size; test -c /dev/console && echo console")
    bundle.save()
    words = ["create", "--bundle", str(bundle.directory), "--console-socket", str(tmp_path / "s"), bundle.id]
    assert bundle.run(*words, capture_output=False, stderr=subprocess.DEVNULL).returncode == 0
    thread.join()
    (master,) = received
    try:
        bundle.ok("start", bundle.id)
        assert read_all(master).decode().split() == ["/dev/pts/0", "30", "90", "console"]
    finally:
        os.close(master)


def test_a_terminal_without_a_socket_is_refused_by_create(bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    bundle.save()
    assert "console-socket" in bundle.run("create", "--bundle", str(bundle.directory), bundle.id).stderr


def test_descriptors_to_preserve_reach_the_program_and_no_others_do(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    bundle.shell("cat <&3; echo; ls /proc/self/fd | wc -l")
    bundle.save()
    words = ["--root", str(bundle.root), "run", "--preserve-fds", "1", "--bundle", str(bundle.directory), bundle.id]
    script = 'exec 3<"$0" 9<"$0"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, str(tmp_path / "kept"), *command(), *words], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["kept", "5"], done.stderr
