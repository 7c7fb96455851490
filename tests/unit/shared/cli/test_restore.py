"""What `wherry restore` refuses, and how it exchanges one cluster for another."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pytest

from shared.cli.backup import files
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.restore import REPLACED, changed, put_in_place, refuse_present
from shared.cli.supervise import start_time

NAME = "wrestore"


def arguments(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"file": "f", "name": None, "api_port": None, "underlay": None} | given)


def test_an_empty_or_missing_directory_is_taken(tmp_path: Path) -> None:
    refuse_present(tmp_path, force=False)
    refuse_present(tmp_path / "missing", force=False)


def test_a_cluster_is_replaced_only_by_force(tmp_path: Path) -> None:
    Cluster(tmp_path, name=NAME).with_nodes(1).save()
    with pytest.raises(ClusterError, match="replace it with --force"):
        refuse_present(tmp_path, force=False)
    refuse_present(tmp_path, force=True)
    (tmp_path / "cluster.json").write_text("damaged")
    with pytest.raises(ClusterError, match="replace it with --force"):
        refuse_present(tmp_path, force=False)
    refuse_present(tmp_path, force=True)


def test_what_is_no_cluster_is_not_replaced_by_force_either(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(ClusterError, match=r"holds no cluster \(thesis\.txt\)"):
        refuse_present(tmp_path, force=True)
    with pytest.raises(ClusterError, match="is no directory"):
        refuse_present(tmp_path / "thesis.txt", force=True)


def test_a_cluster_that_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "run", tmp_path / "run")
    data = tmp_path / "data"
    data.mkdir()
    Cluster(data, name=NAME).with_nodes(1).save()
    record = tmp_path / "run" / "processes" / "supervisor.json"
    record.parent.mkdir(parents=True)
    record.write_text(f'{{"pid": {os.getpid()}, "start_time": {start_time(os.getpid())}}}')
    with pytest.raises(ClusterError, match="runs; stop it with `wherry down"):
        refuse_present(data, force=True)


def staged(tmp_path: Path) -> Path:
    staging = tmp_path / "staging"
    (staging / "data").mkdir(parents=True)
    Cluster(staging / "data", name=NAME).with_nodes(2).save()
    (staging / "data" / "kubeconfig").write_text("new")
    return staging


def test_name_port_and_underlay_may_change_and_the_kubeconfig_with_them(tmp_path: Path) -> None:
    staging = staged(tmp_path)
    same = changed(staging, tmp_path, arguments())
    assert (same.name, same.data, same.nodes) == (NAME, tmp_path, ("node-1", "node-2"))
    assert (staging / "data" / "kubeconfig").exists()
    other = changed(staging, tmp_path, arguments(name="other", api_port=7443, underlay="10.88.0.0/24"))
    assert (other.name, other.api_port, other.underlay) == ("other", 7443, "10.88.0.0/24")
    assert not (staging / "data" / "kubeconfig").exists()
    with pytest.raises(ClusterError, match="overlaps pod_cidr"):
        changed(staging, tmp_path, arguments(underlay="10.244.1.0/24"))


def test_the_new_takes_the_place_of_the_old_and_the_nodes_stay(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "nodes").mkdir(parents=True)
    (data / "kubeconfig").write_text("old")
    # how far the old log had come says nothing about the new one
    (data / "state-log.json").write_text('{"revision": 1000000}')
    Cluster(data, name="old").with_nodes(1).save()
    staging = staged(tmp_path)
    put_in_place(staging, data, changed(staging, data, arguments()))
    assert (data / "kubeconfig").read_text() == "new"
    loaded = Cluster.load(data)
    assert loaded is not None
    assert (loaded.name, loaded.nodes) == (NAME, ("node-1", "node-2"))
    assert (data / "nodes").is_dir()
    assert not (data / REPLACED).exists()
    assert not (data / "state-log.json").exists()


def test_an_exchange_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    (tmp_path / REPLACED).mkdir()
    (tmp_path / "kubeconfig").write_text("half done")
    with pytest.raises(ClusterError, match="--force"):
        refuse_present(tmp_path, force=False)
    refuse_present(tmp_path, force=True)


def test_a_backup_holds_keys_and_settings_and_nothing_of_the_nodes(tmp_path: Path) -> None:
    for name in ("pki/ca.key", "bus/credentials/admin.json", "bus/jetstream/x", "bus/nats.conf", "nodes/node-1/x",
                 "log/apiserver.log", "pki/.lock", "cluster.json", "cluster.json.partial", "state-log.json",
                 ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "pki" / "link").symlink_to("/etc/passwd")
    assert [name for name, _ in files(tmp_path)] == ["cluster.json", "pki/ca.key", "bus/credentials/admin.json"]
