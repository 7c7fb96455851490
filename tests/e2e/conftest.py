"""One cluster for all end-to-end tests, a namespace for each; what a failed test needs is printed with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import ADDRESSES, EXAMPLE, TOOLS, Helm, Kubectl, TestCluster, leftovers, wherry

pytestmark = pytest.mark.e2e


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    """Three nodes with the example deployed; removed with all its traces at the end."""
    if os.geteuid() != 0:
        pytest.skip("a cluster needs root")
    data = Path("/var/tmp/wherry-e2e")
    wherry("down", "--data", str(data), "--wipe", check=False)
    shutil.rmtree(data, ignore_errors=True)
    running = TestCluster(data, {"WHERRY_NOT_READY_TOLERATION_SECONDS": "5"})
    try:
        running.up(*ADDRESSES, "--nodes", "3", "--example", str(EXAMPLE))
        yield running
    except AssertionError:
        print(running.logs())
        raise
    finally:
        running.down("--wipe")
    assert leftovers() == []


@pytest.fixture
def kubectl(cluster: TestCluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of its own, which is deleted with all that is in it."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    client = Kubectl(cluster.kubectl.kubeconfig, name)
    yield client
    if request.session.testsfailed:
        print(client.run("get", "pods,events", "-o", "wide", check=False).stdout)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def helm(kubectl: Kubectl, tmp_path: Path) -> Helm:
    """Runs helm in the test's namespace and returns what it prints."""

    def run(*arguments: str) -> str:
        command = [str(TOOLS / "helm"), "--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace, *arguments]
        env = kubectl.environment() | {"HOME": str(tmp_path)}
        result = subprocess.run(command, capture_output=True, text=True, timeout=180, env=env)
        assert result.returncode == 0, f"helm {' '.join(arguments)} failed:\n{result.stdout}\n{result.stderr}"
        return result.stdout

    return run
