"""The validation programs of OCI's runtime-tools (v0.9.0), each of which drives a runtime as its callers do.

They are in Go and take minutes, so this is for who asks for it: WHERRY_RUNTIME_TOOLS names a checkout of
github.com/opencontainers/runtime-tools at that tag. What is not listed here fails with runc as well:
docs/container-starts.md tells why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = os.environ.get("WHERRY_RUNTIME_TOOLS", "")
LIMIT_S = 300.0

PASSED = """
config_updates_without_affect create default delete delete_only_create_resources delete_resources hostname kill
kill_no_effect killsig linux_cgroups_cpus linux_cgroups_devices linux_cgroups_pids linux_cgroups_relative_cpus
linux_cgroups_relative_devices linux_cgroups_relative_pids linux_devices linux_masked_paths linux_ns_itype
linux_ns_nopath linux_ns_path linux_ns_path_type linux_readonly_paths linux_seccomp linux_sysctl linux_uid_mappings
mounts process process_oom_score_adj process_user root_readonly_true state
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not TOOLS, reason="WHERRY_RUNTIME_TOOLS names no checkout of OCI's runtime-tools"),
    pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed"),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, built with what the checkout brings along, and `runtimetest`, which they run in containers."""
    directory = tmp_path_factory.mktemp("validation")
    source = directory / "src/github.com/opencontainers/runtime-tools"
    shutil.copytree(TOOLS, source, symlinks=True)
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(directory), "CGO_ENABLED": "0"}
    for words in (("-o", "runtimetest", "./cmd/runtimetest"), ("-o", f"{directory}/built/", "./validation/...")):
        if words[1].endswith("/"):
            (directory / "built").mkdir()
        subprocess.run(["go", "build", *words], cwd=source, env=env, check=True)
    return directory


@pytest.mark.parametrize("name", PASSED.split())
def test_a_validation_program_finds_nothing_wrong(programs: Path, name: str, runtime: str) -> None:
    done = subprocess.run(
        [programs / "built" / name],
        cwd=programs / "src/github.com/opencontainers/runtime-tools",
        env={**os.environ, "RUNTIME": runtime},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in lines if line.startswith("not ok")] == []
    assert any(line.startswith("ok") for line in lines), done.stdout + done.stderr


@pytest.fixture
def runtime(tmp_path: Path) -> str:
    """A command without arguments that is this tree's runtime."""
    file = tmp_path / "wherry-runtime"
    file.write_text(f"#!{sys.executable}\nfrom services.nodeagent.oci.__main__ import run\nrun()\n")
    file.chmod(0o755)
    return str(file)
