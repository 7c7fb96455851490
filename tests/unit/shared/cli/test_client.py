"""What the command line says when the API server cannot be reached."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.supervise import start_time
from shared.identity.pki import ensure_pki


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster without processes, on a port where nobody listens."""
    monkeypatch.setattr(Cluster, "run", tmp_path / "run")
    data = tmp_path / "data"
    ensure_pki(data, addresses=["127.0.0.1"], names=[])
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Cluster(data, api_port=bound.getsockname()[1])


def test_a_stopped_cluster_is_told_from_a_server_that_fails(cluster: Cluster) -> None:
    with ApiSession(cluster) as session:
        with pytest.raises(ClusterError, match="is stopped; start it again with `wherry up`"):
            session.get("/version")
        record = cluster.run / "processes" / "supervisor.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"pid": os.getpid(), "start_time": start_time(os.getpid())}))
        with pytest.raises(ClusterError, match=r"does not answer .*; see .*/log/apiserver\.log"):
            session.get("/version")
