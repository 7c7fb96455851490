"""Building images from a directory."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from shared.images import manifests
from shared.images.builder import Built, Options, build
from shared.images.context import Context
from shared.images.errors import BuildError
from shared.images.manifests import Platform
from tests.unit.shared.images import archives

AMD64 = Platform("linux", "amd64")


def no_base(name: str) -> Any:
    raise AssertionError(f"{name} was not expected")


def make(tmp_path: Path, text: str, **more: Any) -> Built:
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return build(Options(Context(context), text, work, no_base, platform=AMD64, **more))


def write(tmp_path: Path, name: str, content: str = "x", mode: int = 0o644) -> Path:
    path = tmp_path / "context" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def members(built: Built, index: int = 0) -> dict[str, tarfile.TarInfo]:
    data = gzip.decompress(built.local[index].path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive.getmembers()}


def config(built: Built) -> dict[str, Any]:
    found: dict[str, Any] = manifests.decode(built.config.data, "c")
    return found


def test_the_same_directory_gives_the_same_image(tmp_path: Path) -> None:
    text = 'FROM scratch\nCOPY . /\nCMD ["/a"]\n'
    path = write(tmp_path, "a", mode=0o755)
    write(tmp_path, "d/b")
    first = make(tmp_path, text)
    os.utime(path, (1, 1))
    assert make(tmp_path, text).manifest.digest == first.manifest.digest


def test_the_epoch_is_the_time_of_every_file(tmp_path: Path) -> None:
    write(tmp_path, "a")
    built = make(tmp_path, "FROM scratch\nCOPY a /", epoch=86400)
    assert {member.mtime for member in members(built).values()} == {86400}
    assert config(built)["created"] == "1970-01-02T00:00:00Z"


def test_symlinks_of_a_directory_stay_symlinks(tmp_path: Path) -> None:
    write(tmp_path, "bin/busybox", mode=0o755)
    (tmp_path / "context/bin/sh").symlink_to("busybox")
    found = members(make(tmp_path, "FROM scratch\nCOPY bin/ /bin/"))
    assert found["bin/sh"].issym()
    assert found["bin/sh"].linkname == "busybox"
    assert found["bin/busybox"].mode == 0o755


def test_missing_parents_are_directories_of_root(tmp_path: Path) -> None:
    write(tmp_path, "a")
    found = members(make(tmp_path, "FROM scratch\nCOPY --chown=5:6 a /x/y/a"))
    assert (found["x"].mode, found["x"].uid, found["x/y/a"].uid, found["x/y/a"].gid) == (0o755, 0, 5, 6)


def test_hard_links_are_stored_once(tmp_path: Path) -> None:
    first = write(tmp_path, "d/a")
    os.link(first, first.with_name("b"))
    found = members(make(tmp_path, "FROM scratch\nCOPY d /d"))
    assert found["d/b"].islnk()
    assert found["d/b"].linkname == "d/a"


@pytest.mark.parametrize(
    ("copy", "names"),
    [
        ("COPY a /x", {"x"}),
        ("COPY a /x/", {"x", "x/a"}),
        ("COPY a d/b /x/", {"x", "x/a", "x/b"}),
        ("COPY d /x", {"x", "x/b"}),
        ("COPY *.txt /x/", {"x", "x/n.txt"}),
        ('COPY ["a", "/x y"]', {"x y"}),
        ("WORKDIR /w\nCOPY a .", {"w/a"}),
        ("COPY --chmod=600 a /a", {"a"}),
    ],
)
def test_copy_puts_files_where_docker_does(tmp_path: Path, copy: str, names: set[str]) -> None:
    for name in ("a", "d/b", "n.txt"):
        write(tmp_path, name)
    assert set(members(make(tmp_path, f"FROM scratch\n{copy}"), -1)) == names


def test_a_copy_into_a_directory_made_before_keeps_the_name(tmp_path: Path) -> None:
    write(tmp_path, "a")
    built = make(tmp_path, "FROM scratch\nCOPY a /bin/first\nCOPY a /bin")
    assert set(members(built, 1)) == {"bin/a"}


def test_ignored_files_are_not_there(tmp_path: Path) -> None:
    for name in ("a", "secret", "d/secret"):
        write(tmp_path, name)
    write(tmp_path, ".dockerignore", "**/secret\n.dockerignore\n")
    assert set(members(make(tmp_path, "FROM scratch\nCOPY . /"))) == {"a", "d"}


@pytest.mark.parametrize("source", ["../outside", "link", "missing", "no*"])
def test_a_source_outside_or_missing_is_refused_with_its_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "outside").write_text("x")
    write(tmp_path, "a")
    (tmp_path / "context/link").symlink_to("../outside")
    with pytest.raises(BuildError, match="Dockerfile line 2: COPY"):
        make(tmp_path, f"FROM scratch\nCOPY {source} /x")


def test_metadata_comes_from_the_instructions(tmp_path: Path) -> None:
    text = """
ARG V=2
FROM scratch
ARG V
ENV A=1 B="$V x"
LABEL l=$A
WORKDIR /srv
WORKDIR sub
USER 10:20
EXPOSE 80 53/udp 8000-8001
VOLUME ["/data"]
STOPSIGNAL SIGINT
ENTRYPOINT ["/run"]
CMD echo $A
"""
    run = config(make(tmp_path, text, labels={"more": "1"}))["config"]
    assert run["Env"] == ["A=1", "B=2 x"]
    assert run["Labels"] == {"l": "1", "more": "1"}
    assert (run["WorkingDir"], run["User"], run["StopSignal"]) == ("/srv/sub", "10:20", "SIGINT")
    assert list(run["ExposedPorts"]) == ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]
    assert (run["Entrypoint"], run["Cmd"]) == (["/run"], ["/bin/sh", "-c", "echo $A"])
    assert run["Volumes"] == {"/data": {}}


def test_a_build_argument_overrides_the_default(tmp_path: Path) -> None:
    built = make(tmp_path, "FROM scratch\nARG V=1\nENV A=$V", arguments={"V": "7"})
    assert config(built)["config"]["Env"] == ["A=7"]


def test_add_unpacks_a_local_archive(tmp_path: Path) -> None:
    data = archives.tar(archives.entry("d", archives.DIRECTORY, mode=0o700), archives.entry("d/f", data=b"hi", uid=9))
    (tmp_path / "context").mkdir()
    (tmp_path / "context/a.tar.gz").write_bytes(gzip.compress(data))
    found = members(make(tmp_path, "FROM scratch\nADD a.tar.gz /opt/"))
    assert set(found) == {"opt", "opt/d", "opt/d/f"}
    assert (found["opt/d/f"].uid, found["opt/d"].mode) == (9, 0o700)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RUN ls", "line 3: RUN is not supported"),
        ('SHELL ["a"]', "line 3: SHELL is not supported"),
        ("FROM scratch", "line 3: FROM a second time"),
        ("COPY --from=x a b", "line 3: COPY --from is not supported"),
        ("COPY --chown=me a b", "line 3: COPY --chown=me needs numbers"),
        ("ADD https://x/y /z", "line 3: ADD 'https://x/y' is remote"),
        ("EXPOSE http", "line 3: EXPOSE has 'http'"),
        ("NONSENSE x", "line 3: NONSENSE is not an instruction"),
        ("COPY a", "line 3: COPY needs a source and a destination"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, "a")
    with pytest.raises(BuildError, match=message):
        make(tmp_path, f"FROM scratch\n\n{line}\n")


def test_a_file_without_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="has no FROM"):
        make(tmp_path, "# nothing\n")
