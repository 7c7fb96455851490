"""AppArmor profiles around real containers, on a kernel that confines by AppArmor: tests/vm has one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.nodeagent.runtime.client import StartError
from shared.kernel import apparmor
from tests.integration.runtime.conftest import Node
from tests.integration.runtime.test_other_runtimes import finish
from tests.integration.runtime.test_user_namespaces import RANGE

pytestmark = pytest.mark.skipif(
    not Path(apparmor.PROFILES).exists() or shutil.which(apparmor.PARSER) is None,
    reason="this kernel does not confine by AppArmor, or apparmor_parser is missing",
)
STRICT = "profile wherry-test-strict flags=(attach_disconnected) { file, signal, deny /root/** w, }\n"


@pytest.fixture
def strict() -> Iterator[str]:
    """A profile such as a user would load."""
    subprocess.run([apparmor.PARSER, "--replace", "--skip-cache"], input=STRICT, text=True, check=True)
    yield "wherry-test-strict"
    subprocess.run([apparmor.PARSER, "--remove"], input=STRICT, text=True, check=True)


async def test_the_nodes_own_profile_grants_what_programs_do_and_refuses_mounts_and_the_kernels_files(
    node: Node,
) -> None:
    assert apparmor.load_default() == ""
    await node.sandbox()
    script = """
    cat /proc/self/attr/current
    echo x >/tmp/f && cat /tmp/f && (sleep 100 & kill $!) && ls /proc/1/ns >/dev/null && echo ordinary
    mount -t tmpfs t /tmp || echo no mount
    echo 1 >/proc/sys/kernel/panic || echo no sysctl
    cat /proc/kcore || echo no kcore
    """
    spec = {"apparmor": apparmor.DEFAULT, "privileged": True, "unmasked_proc": True, "seccomp": "unconfined"}
    output = await node.shell(script, **spec)
    assert output.startswith(f"{apparmor.DEFAULT} (enforce)\n")
    for words in ("x\nordinary\n", "no mount\n", "no sysctl\n", "no kcore\n"):
        assert words in output


@pytest.mark.parametrize("own_users", [False, True])
async def test_a_profile_of_the_users_holds_for_the_container_and_what_is_executed_in_it(
    node: Node, strict: str, own_users: bool
) -> None:
    await node.sandbox(**({"user_range": RANGE} if own_users else {}))
    await node.start("c", "sleep", "1000", apparmor=strict, no_new_privileges=True)
    session = await node.runtime.exec("c", ["sh", "-c", "cat /proc/1/attr/current /proc/self/attr/current; >/root/f"])
    code, out, err = await finish(session)
    assert out.decode().split("\n") == [f"{strict} (enforce)"] * 2 + [""]
    assert code != 0
    assert b"ermission denied" in err


async def test_a_profile_that_is_not_loaded_is_named(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(StartError, match="none-such"):
        await node.start("c", "true", apparmor="none-such")
