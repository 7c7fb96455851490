"""What `wherry pod` makes of files and nodes before it asks the cluster for anything."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from shared.cli.cluster import ClusterError
from shared.cli.main import main, parser
from shared.cli.pod_checkpoint import ANNOTATION, choose_node, pod_from, read_manifest

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "namespace": "default",
        "uid": "u1",
        "resourceVersion": "7",
        "labels": {"app": "web"},
        "ownerReferences": [{"kind": "ReplicaSet"}],
    },
    "spec": {"nodeName": "node-1", "containers": []},
    "status": {"phase": "Running"},
}


def archive(path: Path, **files: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_checkpoint_tells_which_pod_it_holds(tmp_path: Path) -> None:
    content = json.dumps({"pod": POD, "node": "node-1"}).encode()
    assert read_manifest(archive(tmp_path / "c.tar", **{"checkpoint.json": content}))["pod"] == POD


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path, words in (
        (tmp_path / "missing", "cannot be read"),
        (tmp_path / "text", "it is no tar archive"),
        (archive(tmp_path / "empty.tar"), "has no checkpoint.json"),
        (archive(tmp_path / "bad.tar", **{"checkpoint.json": b"{}"}), "is no checkpoint of a pod"),
    ):
        with pytest.raises(ClusterError, match=words):
            read_manifest(path)


def node(name: str, ready: str = "True", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def test_a_pod_goes_where_it_was_if_it_can() -> None:
    nodes = [node("a", "False"), node("b"), node("c", unschedulable=True), node("d")]
    assert choose_node(nodes, None, "d") == "d"
    assert choose_node(nodes, None, "a") == "b"
    assert choose_node(nodes, "d", "b") == "d"
    with pytest.raises(ClusterError, match="node c is not ready; these are: b, d"):
        choose_node(nodes, "c", "b")
    with pytest.raises(ClusterError, match="no node is ready"):
        choose_node(nodes[:1], None, "a")


def test_the_pod_made_from_a_checkpoint_is_a_new_one_that_names_it() -> None:
    made = pod_from(POD, "abc", "node-2", name="q")
    assert made == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "q", "namespace": "default", "labels": {"app": "web"}, "annotations": {ANNOTATION: "abc"}},
        "spec": {"nodeName": "node-2", "containers": []},
    }


def test_file_and_export_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pod", "checkpoint", "p", "file", "--export"]) == 1
    assert "either FILE or --export" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["p", "f", "-n", "x"], ["p", "-n", "x", "f"], ["-n", "x", "p", "f"]])
def test_the_file_may_stand_anywhere_behind_the_pod(words: list[str]) -> None:
    args = parser().parse_args(["pod", "checkpoint", *words])
    assert (args.name, args.file, args.namespace) == ("p", "f", "x")


def test_migrate_needs_a_node() -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["pod", "migrate", "p"])
