"""Volumes made of API objects: what they hold, and the swap that replaces it whole."""

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.volumes import atomic, emptydir, hostpath, payload
from services.nodeagent.volumes.mounts import container_mounts
from services.nodeagent.volumes.payload import File
from tests.fakes.podlife import container, pod


class Objects:
    def __init__(self, **objects):
        self.objects = objects

    def get(self, kind, namespace, name):
        return self.objects.get(name)


MAP = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\x00\xff").decode()}}


def files(source, kind="configmaps", **objects):
    return payload.object_files(kind, source, "default", Objects(**objects), 0o644)


def test_every_key_becomes_a_file():
    assert files({"name": "m"}, m=MAP) == {"a": File(b"1"), "b": File(b"2"), "c": File(b"\x00\xff")}


def test_items_choose_keys_paths_and_modes():
    items = [{"key": "a", "path": "d/x"}, {"key": "b", "path": "y", "mode": 0o400}]
    assert files({"name": "m", "items": items}, m=MAP) == {"d/x": File(b"1"), "y": File(b"2", 0o400)}


def test_a_missing_object_is_named():
    with pytest.raises(ConfigurationError, match='secret "s" not found'):
        files({"secretName": "s"}, "secrets")
    assert files({"secretName": "s", "optional": True}, "secrets") == {}


def test_a_missing_key_is_named():
    source = {"name": "m", "items": [{"key": "nope", "path": "x"}]}
    with pytest.raises(ConfigurationError, match="configmap references non-existent config key: nope"):
        files(source, m=MAP)
    assert files({**source, "optional": True}, m=MAP) == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..data", ""])
def test_a_path_cannot_leave_the_volume(path):
    with pytest.raises(ConfigurationError, match="leaves its volume"):
        payload.checked_path(path)


def test_a_group_may_read_what_belongs_to_it():
    assert payload.for_group({"a": File(b"", 0o600)}, 2000)["a"].mode == 0o640
    assert payload.for_group({"a": File(b"", 0o600)}, None)["a"].mode == 0o600


def test_a_token_is_readable_by_the_one_user_of_the_pod():
    obj = pod(container("c", securityContext={"runAsUser": 1000}))
    assert payload.token_file(obj, "token", "t", 0o644) == {"token": File(b"t", 0o600, 1000)}
    obj["spec"]["containers"].append(container("d"))
    assert payload.token_file(obj, "token", "t", 0o644) == {"token": File(b"t", 0o644)}
    obj["spec"]["securityContext"] = {"fsGroup": 5}
    assert payload.token_file(obj, "token", "t", 0o644) == {"token": File(b"t", 0o600)}


# the swap


def test_files_are_read_through_the_data_link(tmp_path):
    assert atomic.write(tmp_path, {"a": File(b"1"), "d/e": File(b"2", 0o400)})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "d") == "..data/d"
    assert (tmp_path / "d/e").stat().st_mode & 0o777 == 0o400


def test_the_same_files_are_not_written_again(tmp_path):
    atomic.write(tmp_path, {"a": File(b"1")})
    before = os.readlink(tmp_path / "..data")
    assert not atomic.write(tmp_path, {"a": File(b"1")})
    assert os.readlink(tmp_path / "..data") == before


def test_a_change_swaps_the_whole_set_and_leaves_nothing_behind(tmp_path):
    atomic.write(tmp_path, {"a": File(b"1"), "gone": File(b"x")})
    assert atomic.write(tmp_path, {"a": File(b"2"), "new": File(b"y")})
    assert sorted(os.listdir(tmp_path)) == sorted(["..data", os.readlink(tmp_path / "..data"), "a", "new"])
    assert (tmp_path / "a").read_bytes() == b"2"


def test_an_open_directory_still_shows_the_old_files_after_a_swap(tmp_path):
    atomic.write(tmp_path, {"a": File(b"1")})
    with (tmp_path / "a").open("rb") as held:
        atomic.write(tmp_path, {"a": File(b"2")})
        assert held.read() == b"1"


def test_a_swap_that_was_cut_short_is_completed(tmp_path):
    atomic.write(tmp_path, {"a": File(b"1")})
    (tmp_path / "..2020_half").mkdir()
    (tmp_path / "..data_tmp").symlink_to("..2020_half")
    assert atomic.write(tmp_path, {"a": File(b"2")})
    assert not (tmp_path / "..2020_half").exists()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "d/a", "d/b", "e/f/g"]), st.binary(max_size=8), max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_came_before_the_last_set_is_what_is_shown(tmp_path_factory, versions):
    directory = tmp_path_factory.mktemp("volume")
    for version in versions:
        wanted = {path: File(data) for path, data in version.items()}
        atomic.write(directory, wanted)
        assert atomic.read(directory) == wanted
        shown = {name for name in os.listdir(directory) if not name.startswith("..")}
        assert shown == {path.split("/")[0] for path in version}


# other kinds


def test_an_empty_dir_may_be_written_by_everybody(tmp_path):
    directory = emptydir.prepare(tmp_path / "e", {}, None, 0)
    assert directory.stat().st_mode & 0o7777 == 0o777


def test_an_unknown_medium_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="HugePages"):
        emptydir.prepare(tmp_path / "e", {"medium": "HugePages"}, None, 0)


def test_a_host_path_is_made_only_if_its_type_says_so(tmp_path):
    made = hostpath.prepare({"path": str(tmp_path / "d"), "type": "DirectoryOrCreate"})
    assert made.is_dir()
    assert hostpath.prepare({"path": str(tmp_path / "f"), "type": "FileOrCreate"}).is_file()
    with pytest.raises(ConfigurationError, match="is not a directory"):
        hostpath.prepare({"path": str(tmp_path / "f"), "type": "Directory"})
    with pytest.raises(ConfigurationError, match="is not a socket file"):
        hostpath.prepare({"path": str(tmp_path / "nope"), "type": "Socket"})


def mounts(tmp_path, *entries, read_only=()):
    spec = container("c", volumeMounts=list(entries))
    return container_mounts(spec, {"v": tmp_path, "w": tmp_path}, {"A": "x"}, frozenset(read_only))


def test_outer_mounts_come_before_inner_ones(tmp_path):
    made = mounts(tmp_path, {"name": "v", "mountPath": "/a/b"}, {"name": "w", "mountPath": "/a"})
    assert [m.target for m in made] == ["/a", "/a/b"]


def test_volumes_of_api_objects_are_read_only(tmp_path):
    [mount] = mounts(tmp_path, {"name": "v", "mountPath": "/a"}, read_only=["v"])
    assert mount.read_only


def test_a_sub_path_expression_is_expanded(tmp_path):
    [mount] = mounts(tmp_path, {"name": "v", "mountPath": "/a", "subPathExpr": "d/$(A)"})
    assert mount.sub_path == "d/x"


@pytest.mark.parametrize(
    "entry", [{"subPath": "../x"}, {"subPath": "/x"}, {"subPathExpr": "$(NOPE)"}, {"name": "unknown"}]
)
def test_a_mount_that_makes_no_sense_is_refused(tmp_path, entry):
    with pytest.raises(ConfigurationError):
        mounts(tmp_path, {"name": "v", "mountPath": "/a", **entry})


def test_propagation_is_passed_on(tmp_path):
    [mount] = mounts(tmp_path, {"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"})
    assert mount.propagation == "shared"


def test_a_file_whose_directory_is_not_there_cannot_be_made(tmp_path):
    path = tmp_path / "none" / "file"
    with pytest.raises(ConfigurationError, match=f"open {path}: no such file or directory"):
        hostpath.prepare({"path": str(path), "type": "FileOrCreate"})


def test_a_sub_path_names_the_variable_that_is_missing(tmp_path):
    mounting = container("c", volumeMounts=[{"name": "v", "mountPath": "/v", "subPathExpr": "$(A)/$$(B)/$(NOPE)"}])
    with pytest.raises(ConfigurationError, match='missing value for "NOPE"'):
        container_mounts(mounting, {"v": tmp_path}, {"A": "a"}, frozenset())
