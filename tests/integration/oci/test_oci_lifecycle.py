"""The operations and the states of the runtime specification (runtime.md)."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci.conftest import Bundle, eventually

pytestmark = pytest.mark.root


def hook(bundle: Bundle, script: str) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cd {bundle.directory}; {script}"], "timeout": 10}


def test_a_container_is_created_then_runs_then_is_stopped(bundle: Bundle) -> None:
    bundle.shell("echo ran; sleep 1000")
    bundle.config["annotations"] = {"a": "b"}
    bundle.create()
    state = bundle.state()
    assert (state["status"], state["bundle"]) == ("created", str(bundle.directory))
    assert state["annotations"] == {"a": "b"}
    assert (bundle.directory / "output").read_text() == ""
    bundle.ok("start", bundle.id)
    assert bundle.state()["pid"] == state["pid"]
    assert bundle.state()["status"] == "running"
    eventually(lambda: (bundle.directory / "output").read_text() == "ran\n", "the output")
    bundle.ok("kill", bundle.id, "KILL")
    bundle.wait_status("stopped")
    bundle.ok("delete", bundle.id)
    assert bundle.run("state", bundle.id).returncode == 1


def test_what_does_not_fit_the_status_is_refused_and_changes_nothing(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    assert bundle.run("start", bundle.id).returncode == 1
    bundle.create()
    assert "exists already" in bundle.run("create", "--bundle", str(bundle.directory), bundle.id).stderr
    assert "it is created" in bundle.run("delete", bundle.id).stderr
    bundle.ok("start", bundle.id)
    assert "it is running" in bundle.run("start", bundle.id).stderr
    assert "it is running" in bundle.run("delete", bundle.id).stderr
    bundle.ok("kill", bundle.id, "9")
    bundle.wait_status("stopped")
    assert "it is stopped" in bundle.run("kill", bundle.id, "TERM").stderr
    assert "it is stopped" in bundle.run("start", bundle.id).stderr


def test_a_created_container_can_be_ended_by_a_signal(bundle: Bundle) -> None:
    bundle.create()
    bundle.ok("kill", bundle.id, "SIGTERM")
    bundle.wait_status("stopped")


def test_signals_reach_the_program(bundle: Bundle) -> None:
    bundle.shell("trap 'echo caught; exit 0' USR1; echo ready; while :; do sleep 1; done")
    bundle.create()
    bundle.ok("start", bundle.id)
    eventually(lambda: "ready" in (bundle.directory / "output").read_text(), "the trap")
    bundle.ok("kill", bundle.id, "USR1")
    bundle.wait_status("stopped")
    assert "caught" in (bundle.directory / "output").read_text()


def test_changes_to_the_bundle_after_create_have_no_effect(bundle: Bundle) -> None:
    bundle.process["args"] = ["echo", "as created"]
    bundle.create()
    bundle.process["args"] = ["echo", "changed"]
    bundle.save()
    bundle.ok("start", bundle.id)
    bundle.wait_status("stopped")
    assert (bundle.directory / "output").read_text() == "as created\n"


def test_without_a_process_create_works_and_start_does_not(bundle: Bundle) -> None:
    del bundle.config["process"]
    bundle.create()
    assert "process is not set" in bundle.run("start", bundle.id).stderr


def test_a_program_that_is_missing_is_an_error_of_create_that_leaves_nothing(bundle: Bundle) -> None:
    bundle.process["args"] = ["nosuch"]
    done = bundle.foreground()
    assert done.returncode == 1
    assert "executable file not found in $PATH" in done.stderr
    assert bundle.run("state", bundle.id).returncode == 1


def test_a_program_that_cannot_be_executed_is_an_error_of_start(bundle: Bundle) -> None:
    (bundle.rootfs / "bin/bad").write_bytes(b"\x7fELF but not really")
    (bundle.rootfs / "bin/bad").chmod(0o755)
    bundle.process["args"] = ["bad"]
    bundle.create()
    assert "exec format error" in bundle.run("start", bundle.id).stderr
    bundle.wait_status("stopped")


def test_nothing_of_the_runtime_stays_while_a_container_runs(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.save()
    bundle.ok("run", "--detach", "--bundle", str(bundle.directory), bundle.id, capture_output=False)
    bundle.wait_status("running")
    found = [pid for pid in os.listdir("/proc") if pid.isdecimal() and str(bundle.root) in command_line(pid)]
    assert found == []
    assert command_line(str(bundle.state()["pid"])) == "sleep 1000 "


def command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:  # ended just now
        return ""


def test_run_passes_on_output_and_exit_code_and_deletes(bundle: Bundle) -> None:
    bundle.shell("echo out; exit 7")
    done = bundle.foreground()
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert bundle.ok("list", "--quiet") == ""


def test_the_pid_file_and_the_log_are_written(bundle: Bundle) -> None:
    bundle.save()
    pid_file, log = bundle.directory / "pid", bundle.directory / "log"
    words = ["--log", str(log), "--log-format", "json"]
    with open(os.devnull, "wb") as null:
        create = ["create", "--bundle", str(bundle.directory), "--pid-file", str(pid_file), bundle.id]
        assert bundle.run(*create, capture_output=False, stdout=null, stderr=null).returncode == 0
    assert int(pid_file.read_text()) == bundle.state()["pid"]
    assert bundle.run(*words, "start", "another").returncode == 1
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert "does not exist" in entry["msg"]


def test_pause_and_resume(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    bundle.ok("pause", bundle.id)
    assert bundle.state()["status"] == "paused"
    assert "it is paused" in bundle.run("exec", bundle.id, "true").stderr
    bundle.ok("resume", bundle.id)
    assert bundle.state()["status"] == "running"


def test_a_paused_container_can_be_deleted_by_force(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    bundle.ok("pause", bundle.id)
    bundle.ok("delete", "--force", bundle.id)
    assert bundle.run("state", bundle.id).returncode == 1


def test_list_and_ps_show_what_there_is(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    (row,) = json.loads(bundle.ok("list", "--format", "json"))
    assert (row["id"], row["status"]) == (bundle.id, "running")
    assert json.loads(bundle.ok("ps", "--format", "json", bundle.id)) == [row["pid"]]
    assert "sleep 1000" in bundle.ok("ps", bundle.id)


def test_exec_adds_a_process(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    out = bundle.ok("exec", "--user", "5:6", "--env", "A=b", "--cwd", "/tmp", bundle.id, "sh", "-c", "id; echo $A; pwd")
    assert out.split("\n")[:3] == ["uid=5 gid=6", "b", "/tmp"]
    assert bundle.ok("exec", bundle.id, "hostname") == "inside\n"
    assert bundle.run("exec", bundle.id, "sh", "-c", "exit 9").returncode == 9
    assert "not found in $PATH" in bundle.run("exec", bundle.id, "nosuch").stderr


def test_exec_takes_a_process_document_and_detaches(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    document = bundle.directory / "process.json"
    document.write_text(json.dumps(bundle.process | {"args": ["sleep", "500"]}))
    pid_file = bundle.directory / "exec.pid"
    words = ["exec", "--process", str(document), "--detach", "--pid-file", str(pid_file), bundle.id]
    assert bundle.run(*words, capture_output=False).returncode == 0
    pid = int(pid_file.read_text())
    assert pid in json.loads(bundle.ok("ps", "--format", "json", bundle.id))
    os.kill(pid, signal.SIGKILL)


def test_hooks_run_in_order_with_the_state_on_their_stdin(bundle: Bundle) -> None:
    names = ("prestart", "createRuntime", "poststart", "poststop")
    bundle.config["hooks"] = {name: [hook(bundle, f"cat > {name}; echo {name} >> order")] for name in names}
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /startContainer"]}
    bundle.config["hooks"]["startContainer"] = [inside]
    bundle.config["hooks"]["createContainer"] = [hook(bundle, "cat > createContainer; echo createContainer >> order")]
    bundle.create()
    pid = bundle.state()["pid"]
    bundle.ok("start", bundle.id)
    bundle.wait_status("stopped")
    bundle.ok("delete", bundle.id)
    order = (bundle.directory / "order").read_text().split()
    assert order == ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    states = {name: json.loads((bundle.directory / name).read_text()) for name in (*names, "createContainer")}
    states["startContainer"] = json.loads((bundle.rootfs / "startContainer").read_text())
    assert {name: state["status"] for name, state in states.items()} == {
        "prestart": "created",
        "createRuntime": "creating",
        "createContainer": "creating",
        "startContainer": "created",
        "poststart": "running",
        "poststop": "stopped",
    }
    assert states["createRuntime"]["pid"] == pid
    assert states["startContainer"]["pid"] == 1


@pytest.mark.parametrize("name", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_of_create_destroys_the_container_and_runs_poststop(bundle: Bundle, name: str) -> None:
    bundle.config["hooks"] = {
        name: [hook(bundle, "echo because >&2; exit 3")],
        "poststop": [hook(bundle, "touch stopped")],
    }
    done = bundle.foreground()
    assert done.returncode == 1
    assert "because" in done.stderr
    assert bundle.run("state", bundle.id).returncode == 1
    assert (bundle.directory / "stopped").exists()


def test_a_failing_start_container_hook_stops_the_container(bundle: Bundle) -> None:
    bundle.shell("touch /ran")
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    bundle.create()
    assert "startContainer hook /bin/false ended with 1" in bundle.run("start", bundle.id).stderr
    bundle.wait_status("stopped")
    assert not (bundle.rootfs / "ran").exists()


@pytest.mark.parametrize("name", ["poststart", "poststop"])
def test_a_failing_late_hook_is_a_warning_and_the_next_one_runs(bundle: Bundle, name: str) -> None:
    bundle.config["hooks"] = {name: [{"path": "/bin/false"}, hook(bundle, "touch later")]}
    assert bundle.foreground().returncode == 0
    assert (bundle.directory / "later").exists()


def test_a_hook_that_outlives_its_time_fails(bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}
    assert "did not end within 1 s" in bundle.foreground().stderr


def test_features_name_the_versions_and_the_hooks(bundle: Bundle) -> None:
    features = json.loads(bundle.ok("features"))
    assert features["ociVersionMin"] == "1.0.0"
    assert "createContainer" in features["hooks"]


def test_two_containers_may_not_have_one_id(bundle: Bundle, tmp_path: Path) -> None:
    bundle.create()
    assert bundle.run("run", "--bundle", str(tmp_path), bundle.id).returncode == 1
    assert bundle.state()["status"] == "created"


@pytest.mark.parametrize("name", ["..", "a/b", "a b"])
def test_an_id_that_is_no_file_name_is_refused(bundle: Bundle, name: str) -> None:
    bundle.save()
    assert "container id" in bundle.run("create", "--bundle", str(bundle.directory), name).stderr


def test_no_module_is_ever_loaded_from_the_image(bundle: Bundle) -> None:
    evil = 'open("/loaded", "w").close()\n'
    for directory in {path for path in sys.path if path.startswith("/")}:
        (bundle.rootfs / directory[1:] / "encodings").mkdir(parents=True, exist_ok=True)
        for name in ("encodings/latin_1.py", "encodings/ascii.py", "traceback.py", "subprocess.py", "pwd.py"):
            (bundle.rootfs / directory[1:] / name).write_text(evil)
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    bundle.process["args"] = ["sleep", "1000"]
    bundle.create()
    bundle.ok("start", bundle.id)
    bundle.ok("exec", bundle.id, "true")
    assert not (bundle.rootfs / "loaded").exists()
