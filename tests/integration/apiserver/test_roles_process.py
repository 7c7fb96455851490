"""Roles through kubectl and real processes: what was granted counts on every replica and after a restart."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess

KUBECTL = Path(__file__).parents[3] / ".cache" / "tools" / "kubectl"
pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="tests/tools has not fetched kubectl")


@pytest.fixture
def server(nats_server: NatsServer, tmp_path: Path) -> Iterator[ApiServerProcess]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    with ApiServerProcess(nats_server, directory) as started:
        yield started


def kubectl(server: ApiServerProcess, line: str, *, check: bool = True) -> str:
    """The output of a kubectl command line, errors included."""
    command = [str(KUBECTL), "--kubeconfig", str(server.kubeconfig), *line.split()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if check and done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout + done.stderr


def test_kubectl_grants_asks_and_acts_as_others(server: ApiServerProcess) -> None:
    kubectl(server, "create role reader --verb=get,list --resource=pods,pods/log")
    kubectl(server, "create rolebinding alice --role=reader --user=alice")
    assert "No resources found" in kubectl(server, "get pods --as alice")
    assert 'User "alice" cannot list resource "secrets"' in kubectl(server, "get secrets --as alice", check=False)
    listed = kubectl(server, "auth can-i --list --as alice").splitlines()
    assert any(line.split()[0] == "pods/log" and "[get list]" in line for line in listed)
    assert kubectl(server, "auth can-i delete pods --as alice", check=False).startswith("no")
    kubectl(server, "create rolebinding bob --clusterrole=admin --user=bob")
    kubectl(server, "create rolebinding eve --clusterrole=edit --user=eve --as bob")
    refused = kubectl(server, "create rolebinding mallory --clusterrole=cluster-admin --user=m --as bob", check=False)
    assert "attempting to grant RBAC permissions not currently held" in refused


def test_grants_outlive_the_process_and_labelled_roles_are_aggregated(server: ApiServerProcess) -> None:
    kubectl(server, "create clusterrole widgets --verb=get --resource=leases.coordination.k8s.io")
    kubectl(server, "create rolebinding alice --clusterrole=view --user=alice")
    question = "auth can-i get leases.coordination.k8s.io --as alice"
    assert kubectl(server, question, check=False).startswith("no")
    kubectl(server, "label clusterrole widgets rbac.authorization.k8s.io/aggregate-to-view=true")
    server.kill()
    server.start()
    assert kubectl(server, question) == "yes\n"
