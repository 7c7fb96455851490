"""Users and groups from the image's own files."""

import os

import pytest

from services.nodeagent import users
from services.nodeagent.environment import ConfigurationError
from services.nodeagent.users import Identity

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nnogroup:x:65534:\n"


@pytest.fixture
def layers(tmp_path):
    layer = tmp_path / "bottom"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc/passwd").write_text(PASSWD)
    (layer / "etc/group").write_text(GROUP)
    return [layer]


@pytest.mark.parametrize(
    ("image_user", "expected"),
    [
        ("", Identity(0, 0, (0, 10), "/root")),
        ("app", Identity(1000, 1001, (1001, 10), "/home/app")),
        ("1000", Identity(1000, 1001, (1001, 10), "/home/app")),
        ("app:nogroup", Identity(1000, 65534, (65534, 10), "/home/app")),
        ("4711", Identity(4711, 0, (), "")),
        ("4711:4712", Identity(4711, 4712, (), "")),
    ],
)
def test_the_image_s_user_is_resolved(layers, image_user, expected):
    assert users.resolve(layers, image_user, None, None, []) == expected


def test_run_as_user_replaces_the_image_s_user_and_group(layers):
    assert users.resolve(layers, "app:nogroup", 0, None, []) == Identity(0, 0, (0, 10), "/root")


def test_groups_of_the_pod_are_added(layers):
    identity = users.resolve(layers, "", 1000, 3000, [2000, 3000])
    assert (identity.uid, identity.gid, identity.groups) == (1000, 3000, (3000, 10, 2000))


def test_strict_groups_leave_the_image_s_memberships_out(layers):
    assert users.resolve(layers, "app", None, None, [5], strict_groups=True).groups == (1001, 5)


def test_an_unknown_name_is_an_error(layers):
    with pytest.raises(ConfigurationError, match='user "nobody"'):
        users.resolve(layers, "nobody", None, None, [])
    with pytest.raises(ConfigurationError, match='group "staff"'):
        users.resolve(layers, "app:staff", None, None, [])


def test_an_image_without_the_files_runs_as_root(tmp_path):
    assert users.resolve([tmp_path], "", None, None, []) == Identity(0, 0, (), "")


def test_the_topmost_layer_wins(layers, tmp_path):
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/passwd").write_text("app:x:7:8::/a:/bin/sh\n")
    identity = users.resolve([*layers, upper], "app", None, None, [])
    assert (identity.uid, identity.gid) == (7, 8)


def test_a_link_in_the_image_cannot_reach_the_node_s_files(tmp_path):
    outside = tmp_path / "secret"
    outside.write_text("app:x:1:1::/:/bin/sh\n")
    layer = tmp_path / "layer"
    (layer / "etc").mkdir(parents=True)
    os.symlink(outside, layer / "etc/passwd")
    assert users.read_from_layers([layer], "etc/passwd") == ""


def test_a_link_inside_the_image_is_followed_there(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/passwd").write_text(PASSWD)
    os.symlink("/usr/passwd", tmp_path / "etc/passwd")
    assert users.read_from_layers([tmp_path], "etc/passwd") == PASSWD


def test_a_fifo_in_place_of_the_file_does_not_hold_up_the_agent(tmp_path):
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    assert users.read_from_layers([tmp_path], "etc/passwd") == ""
