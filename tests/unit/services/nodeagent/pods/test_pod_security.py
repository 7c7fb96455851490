"""Seccomp profiles of the node, and what a node refuses for want of protection."""

import json

import pytest

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.pods import seccomp
from services.nodeagent.pods.admission import secure
from tests.fakes.podlife import container, pod

DOCKERS = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"name": "old", "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    ],
}


def calls(capabilities, machine="x86_64", release="6.1.0-1"):
    profile = seccomp.resolved(DOCKERS, capabilities, machine, release)
    return {name for rule in profile["syscalls"] for name in rule["names"]}


def test_dockers_rules_are_for_some_capabilities_architectures_and_kernels_only():
    assert calls(()) == {"read", "write", "old", "clone", "arch_prctl", "ptrace"}
    assert calls(("SYS_ADMIN",)) == {"read", "write", "old", "mount", "arch_prctl", "ptrace"}
    assert calls((), "aarch64", "4.4.0") == {"read", "write", "old", "clone"}


def test_dockers_architectures_are_those_of_the_machine():
    profile = seccomp.resolved(DOCKERS, (), "x86_64", "6.1")
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert "archMap" not in profile


def test_a_profile_is_read_from_below_the_nodes_directory(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/a.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_LOG"}))
    assert seccomp.load(tmp_path, "profiles/a.json", ())["defaultAction"] == "SCMP_ACT_LOG"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x.json", "must be a path below"),
        ("/etc/x.json", "must be a path below"),
        ("none.json", "cannot load seccomp profile .*none.json.*: no such file or directory"),
        ("bad.json", "cannot load seccomp profile .*bad.json"),
        ("empty.json", "it has no defaultAction"),
    ],
)
def test_a_profile_that_cannot_be_read_is_named(tmp_path, name, message):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=message):
        seccomp.load(tmp_path, name, ())


def with_sysctl(name):
    return pod(container("web"), securityContext={"sysctls": [{"name": name, "value": "1"}]})


def test_unsafe_sysctls_are_refused_unless_the_node_permits_them():
    assert secure(with_sysctl("net.ipv4.tcp_syncookies")) is None
    assert secure(with_sysctl("net.core.somaxconn")) == (
        "SysctlForbidden",
        'forbidden sysctl: "net.core.somaxconn" not allowlisted',
    )
    assert secure(with_sysctl("net.core.somaxconn"), ["net.core.*"]) is None


def test_apparmor_is_refused_where_the_kernel_has_none():
    profile = {"appArmorProfile": {"type": "RuntimeDefault"}}
    assert secure(pod(container("web"), securityContext=profile)) == (
        "AppArmor",
        "Cannot enforce AppArmor: AppArmor is not enabled on the host",
    )
    assert secure(pod(container("web", securityContext={"appArmorProfile": {"type": "Unconfined"}}))) is None
