"""process.apparmorProfile, on a kernel that confines by AppArmor: tests/vm has one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from shared.kernel import apparmor
from tests.integration.oci.conftest import Bundle

pytestmark = pytest.mark.skipif(
    not Path(apparmor.PROFILES).exists() or shutil.which(apparmor.PARSER) is None,
    reason="this kernel does not confine by AppArmor, or apparmor_parser is missing",
)


def test_the_process_runs_under_the_profile_of_its_bundle(bundle: Bundle) -> None:
    text = "profile wherry-test-oci flags=(attach_disconnected) { file, deny /root/** w, }\n"
    subprocess.run([apparmor.PARSER, "--replace", "--skip-cache"], input=text, text=True, check=True)
    bundle.process["apparmorProfile"] = "wherry-test-oci"
    bundle.shell("cat /proc/self/attr/current")
    try:
        assert bundle.foreground().stdout == "wherry-test-oci (enforce)\n"
    finally:
        subprocess.run([apparmor.PARSER, "--remove"], input=text, text=True, check=True)


def test_a_profile_that_is_not_loaded_is_an_error(bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = "none-such"
    assert "none-such" in bundle.foreground().stderr
