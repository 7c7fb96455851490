"""Seccomp and AppArmor profiles of the node, and what a node refuses for want of protection."""

import json

import pytest

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.pods import apparmor, seccomp
from services.nodeagent.pods.admission import secure
from shared.kernel import apparmor as kernel
from tests.fakes.podlife import container, pod

LOCALHOST = {"type": "Localhost", "localhostProfile": "mine"}

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


MISSING = ("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def with_apparmor(whole=None, own=None, note=None):
    """(pod, its container) with a profile of the pod, of the container and in the annotation, each if it is given."""
    spec = container("web", **({"securityContext": {"appArmorProfile": own}} if own else {}))
    made = pod(spec, **({"securityContext": {"appArmorProfile": whole}} if whole else {}))
    if note:
        made["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/web": note}
    return made, spec


@pytest.mark.parametrize(
    "asked", [{"whole": {"type": "RuntimeDefault"}}, {"own": LOCALHOST}, {"note": "runtime/default"}]
)
def test_apparmor_is_refused_where_the_kernel_has_none(asked):
    made, _ = with_apparmor(**asked)
    assert secure(made) == MISSING
    assert secure(made, has_apparmor=True) is None


@pytest.mark.parametrize("asked", [{}, {"whole": {"type": "Unconfined"}}, {"note": "unconfined"}])
def test_who_asks_for_no_profile_runs_without_apparmor(asked):
    assert secure(with_apparmor(**asked)[0]) is None


@pytest.fixture
def loaded(monkeypatch):
    """The profiles of a kernel with AppArmor."""
    names = {kernel.DEFAULT, "mine"}
    monkeypatch.setattr(kernel, "enabled", lambda: True)
    monkeypatch.setattr(kernel, "is_loaded", names.__contains__)
    return names


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, kernel.DEFAULT),
        ({"whole": LOCALHOST}, "mine"),
        ({"whole": LOCALHOST, "note": "unconfined"}, ""),
        ({"whole": LOCALHOST, "note": "runtime/default"}, kernel.DEFAULT),
        ({"note": "localhost/mine"}, "mine"),
        ({"note": "localhost/mine", "own": {"type": "Unconfined"}}, ""),
        ({"whole": {"type": "Unconfined"}, "own": {"type": "RuntimeDefault"}}, kernel.DEFAULT),
    ],
)
def test_the_containers_profile_wins_over_the_annotation_and_that_over_the_pods(loaded, asked, name):
    assert apparmor.profile(*with_apparmor(**asked), privileged=False) == name


def test_a_privileged_container_has_a_named_profile_only(loaded):
    assert apparmor.profile(*with_apparmor(), privileged=True) == ""
    assert apparmor.profile(*with_apparmor(whole={"type": "RuntimeDefault"}), privileged=True) == ""
    assert apparmor.profile(*with_apparmor(whole=LOCALHOST), privileged=True) == "mine"


def test_a_profile_that_is_not_loaded_is_named(loaded):
    loaded.clear()
    with pytest.raises(ValueError, match="apparmor profile not found mine"):
        apparmor.profile(*with_apparmor(own=LOCALHOST), privileged=False)
    with pytest.raises(ValueError, match="not found wherry-default; the agent loads it"):
        apparmor.profile(*with_apparmor(own={"type": "RuntimeDefault"}), privileged=False)
    assert apparmor.profile(*with_apparmor(), privileged=False) == ""


def test_profiles_are_read_as_the_kernel_lists_them(tmp_path, monkeypatch):
    (tmp_path / "profiles").write_text("wherry-default (enforce)\n/usr/bin/a (b) (complain)\n")
    monkeypatch.setattr(kernel, "PROFILES", str(tmp_path / "profiles"))
    assert kernel.is_loaded("wherry-default")
    assert kernel.is_loaded("/usr/bin/a (b)")
    assert not kernel.is_loaded("wherry")
