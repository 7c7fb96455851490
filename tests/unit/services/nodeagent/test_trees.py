"""Removing what containers have written."""

import asyncio
import os

from services.nodeagent import trees


async def test_several_may_want_the_same_tree_gone(tmp_path):
    tree = tmp_path / "t"
    for index in range(50):
        (tree / str(index)).mkdir(parents=True)
        (tree / str(index) / "f").write_text("x")
    await asyncio.gather(*(trees.remove_all(tree) for _ in range(8)))
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/f").write_text("x")
    (tmp_path / "t").mkdir()
    os.symlink(tmp_path / "kept", tmp_path / "t/link")
    trees.remove(tmp_path / "t")
    trees.remove(tmp_path / "never-there")
    assert (tmp_path / "kept/f").exists()
    assert not (tmp_path / "t").exists()


def test_a_tree_deeper_than_the_interpreter_recurses_is_removed(tmp_path):
    here = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    trees.remove(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
