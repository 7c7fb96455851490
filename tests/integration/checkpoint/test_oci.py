"""`wherry-runtime checkpoint` and `restore`, as callers of runc use them."""

from __future__ import annotations

from pathlib import Path

from tests.integration.checkpoint.test_containers import pytestmark
from tests.integration.oci.conftest import Bundle, bundle, eventually
from tests.leaks import no_leaks

__all__ = ["bundle", "no_leaks", "pytestmark"]


def count(bundle: Bundle) -> int:
    lines = (bundle.directory / "data/n").read_text().split()
    return int(lines[-1]) if lines else 0


def test_a_container_goes_on_from_its_images(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.directory / "data").mkdir()
    bundle.config["mounts"] += [
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    # the output is redirected all the time, as it is for a moment by every shell that writes a file
    bundle.shell("exec 9>&1 1>>/data/n; n=0; while :; do n=$((n+1)); echo $n; echo out $n >&9; sleep 0.3; done")
    bundle.create()
    bundle.ok("start", bundle.id)
    eventually(lambda: count(bundle) > 2, "some counting")
    images = str(tmp_path / "images")
    bundle.ok("checkpoint", "--image-path", images, "--leave-running", bundle.id)
    assert bundle.state()["status"] == "running"
    bundle.ok("checkpoint", "--image-path", images, bundle.id)
    assert "does not exist" in bundle.run("state", bundle.id).stderr
    before = count(bundle)

    pid_file = tmp_path / "pid"
    with open(bundle.directory / "output", "ab") as output, open(bundle.directory / "errors", "ab") as errors:
        words = ("restore", "--detach", "--bundle", str(bundle.directory), "--image-path", images)
        done = bundle.run(
            *words, "--pid-file", str(pid_file), bundle.id, capture_output=False, stdout=output, stderr=errors
        )
    assert done.returncode == 0, (bundle.directory / "errors").read_text()
    eventually(lambda: count(bundle) > before + 2, "the counting to go on")
    numbers = [int(line) for line in (bundle.directory / "data/n").read_text().split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert f"out {numbers[-2]}" in (bundle.directory / "output").read_text()
    assert bundle.state()["pid"] == int(pid_file.read_text())
    groups = Path(f"/proc/{pid_file.read_text()}/cgroup").read_text()
    assert groups == f"0::/{bundle.id}/container\n"
    bundle.ok("kill", bundle.id, "KILL")
    bundle.wait_status("stopped")


def test_what_cannot_be_restored_is_told_and_leaves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save()
    done = bundle.run("restore", "--bundle", str(bundle.directory), "--image-path", str(tmp_path), bundle.id)
    assert done.returncode == 1
    assert "holds no checkpoint" in done.stderr
    assert "does not exist" in bundle.run("state", bundle.id).stderr
