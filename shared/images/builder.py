"""The builder: a Dockerfile without RUN becomes an image, without a daemon and without root.

Why without RUN: everything here is files and metadata, so a build needs no container, gives the same digest everywhere,
and works on a machine that only has Python. What needs a shell is refused with the line it stands on.
Source: Dockerfile reference; OCI image spec v1.1 config.md.
"""

import io
import posixpath
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from shared.images import digests, dockerfile, layers, manifests
from shared.images.client import Document, Repository
from shared.images.context import Context, Source
from shared.images.dockerfile import Instruction
from shared.images.errors import BuildError
from shared.images.layers import Entry, LayerWriter, LocalLayer
from shared.images.manifests import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest, Platform

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z")
_REFUSED = {
    "RUN": "is not supported: this builder runs nothing; COPY the finished files instead",
    "SHELL": "is not supported: there is no RUN that would use it",
    "ONBUILD": "is not supported",
    "HEALTHCHECK": "is not supported: use the probes of the pod",
}


@dataclass(frozen=True, slots=True)
class Base:
    """The image a build starts from: its layers stay in `repository` until someone needs the bytes."""

    repository: Repository
    manifest: Manifest
    config: dict[str, Any]


LoadBase = Callable[[str], Base]
"""From a reference to the base image. Raises ImageError kinds."""


@dataclass(slots=True)
class Built:
    """A finished image: documents, the layers made here, and the base whose layers come first."""

    manifest: Document
    config: Document
    local: list[LocalLayer]
    base: Base | None


@dataclass(slots=True)
class Options:
    """How to build. `epoch` is SOURCE_DATE_EPOCH in seconds; `work` takes the finished layers."""

    context: Context
    text: str
    work: Path
    load_base: LoadBase
    file: str = "Dockerfile"
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: Platform = field(default_factory=Platform.local)
    epoch: int = 0


def build(options: Options) -> Built:
    """Build an image. Raises BuildError naming file and line, or what loading the base raises."""
    instructions = dockerfile.parse(options.text, options.file)
    if not any(i.name == "FROM" for i in instructions):
        raise BuildError(f"{options.file} has no FROM")
    builder = _Builder(options)
    for instruction in instructions:
        try:
            builder.apply(instruction)
        except BuildError as exc:
            if str(exc).startswith(f"{options.file} line "):
                raise
            raise instruction.fail(str(exc), options.file) from exc
        except (OSError, ValueError) as exc:
            raise instruction.fail(f"failed: {exc}", options.file) from exc
    return builder.finish()


class _Builder:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._global: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        self._base: Base | None = None
        self._started = False
        self._run: dict[str, Any] = {}
        self._history: list[dict[str, Any]] = []
        self._layers: list[LocalLayer] = []
        self._known: set[str] = set()
        self._fresh_command = False

    def apply(self, instruction: Instruction) -> None:
        """Carry out one instruction."""
        name = instruction.name
        if name in _REFUSED:
            raise instruction.fail(_REFUSED[name], self._options.file)
        if not self._started and name not in ("FROM", "ARG"):
            raise instruction.fail("stands before FROM", self._options.file)
        handler = getattr(self, f"_do_{name.lower()}", None)
        if handler is None:
            raise instruction.fail("is not an instruction", self._options.file)
        handler(instruction)
        if name not in ("FROM", "ARG", "COPY", "ADD", "WORKDIR"):
            self._note(instruction, empty=True)

    def finish(self) -> Built:
        """The documents of the image."""
        for key, value in self._options.labels.items():
            self._run.setdefault("Labels", {})[key] = value
        base_layers = self._base.manifest.layers if self._base else ()
        base_config = self._base.config if self._base else {}
        diff_ids = [*(base_config.get("rootfs") or {}).get("diff_ids", ()), *(layer.diff_id for layer in self._layers)]
        document = {
            **{k: v for k, v in base_config.items() if k in ("author", "variant")},
            "created": _timestamp(self._options.epoch),
            "architecture": self._options.platform.architecture,
            "os": self._options.platform.os,
            "config": self._run,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [*(base_config.get("history") or ()), *self._history],
        }
        if self._options.platform.variant:
            document["variant"] = self._options.platform.variant
        config = manifests.encode(document)
        descriptor = Descriptor(OCI_CONFIG, digests.of(config), len(config))
        manifest = Manifest(OCI_MANIFEST, descriptor, (*base_layers, *(layer.descriptor for layer in self._layers)))
        data = manifest.encode()
        return Built(
            Document(data, OCI_MANIFEST, digests.of(data)),
            Document(config, OCI_CONFIG, descriptor.digest),
            self._layers,
            self._base,
        )

    def _do_from(self, instruction: Instruction) -> None:
        if self._started:
            raise instruction.fail("a second time: several stages are not supported", self._options.file)
        words = dockerfile.expand(instruction.text, self._global, instruction).split()
        if not words or (len(words) != 1 and not (len(words) == 3 and words[1].upper() == "AS")):
            raise instruction.fail("needs one image", self._options.file)
        if "platform" in instruction.flags:
            raise instruction.fail("--platform is not supported, use the option of the command", self._options.file)
        self._started = True
        if words[0] != "scratch":
            self._base = self._options.load_base(words[0])
            self._run = dict(self._base.config.get("config") or {})
            self._run.pop("OnBuild", None)

    def _do_arg(self, instruction: Instruction) -> None:
        for word in dockerfile.split(self._expand(instruction), instruction):
            name, equals, default = word.partition("=")
            scope = self._arguments if self._started else self._global
            if name in self._options.arguments:
                scope[name] = self._options.arguments[name]
            elif equals:
                scope[name] = default
            elif self._started and name in self._global:
                scope[name] = self._global[name]

    def _do_env(self, instruction: Instruction) -> None:
        env = dict(item.partition("=")[::2] for item in self._run.get("Env") or ())
        env.update(dockerfile.pairs(self._expand(instruction), instruction))
        self._run["Env"] = [f"{k}={v}" for k, v in env.items()]

    def _do_label(self, instruction: Instruction) -> None:
        found = dockerfile.pairs(self._expand(instruction), instruction)
        self._run["Labels"] = {**(self._run.get("Labels") or {}), **dict(found)}

    def _do_maintainer(self, instruction: Instruction) -> None:
        self._run["Labels"] = {**(self._run.get("Labels") or {}), "maintainer": instruction.text}

    def _do_workdir(self, instruction: Instruction) -> None:
        path = self._expand(instruction).strip("\"'")
        if not path:
            raise instruction.fail("needs a path", self._options.file)
        self._run["WorkingDir"] = posixpath.normpath(posixpath.join(self._workdir, path))
        writer = LayerWriter(self._options.epoch)
        self._parents(writer, self._workdir.strip("/") + "/.")
        self._close(writer, instruction)

    def _do_entrypoint(self, instruction: Instruction) -> None:
        self._run["Entrypoint"] = _command(instruction)
        # a base image's arguments are for the base image's program
        if not self._fresh_command:
            self._run.pop("Cmd", None)

    def _do_cmd(self, instruction: Instruction) -> None:
        self._run["Cmd"] = _command(instruction)
        self._fresh_command = True

    def _do_user(self, instruction: Instruction) -> None:
        self._run["User"] = self._one(instruction)

    def _do_stopsignal(self, instruction: Instruction) -> None:
        self._run["StopSignal"] = self._one(instruction)

    def _do_expose(self, instruction: Instruction) -> None:
        ports = dict(self._run.get("ExposedPorts") or {})
        for word in dockerfile.split(self._expand(instruction), instruction):
            found = _PORT.match(word)
            if not found:
                raise instruction.fail(f"has {word!r}, which is not a port", self._options.file)
            for port in range(int(found[1]), int(found[2] or found[1]) + 1):
                ports[f"{port}/{found[3] or 'tcp'}"] = {}
        self._run["ExposedPorts"] = dict(sorted(ports.items()))

    def _do_volume(self, instruction: Instruction) -> None:
        listed = instruction.json()
        paths = listed if listed is not None else dockerfile.split(self._expand(instruction), instruction)
        self._run["Volumes"] = {**(self._run.get("Volumes") or {}), **{path: {} for path in paths}}

    def _do_copy(self, instruction: Instruction) -> None:
        self._copy(instruction, unpack=False)

    def _do_add(self, instruction: Instruction) -> None:
        self._copy(instruction, unpack=True)

    def _copy(self, instruction: Instruction, unpack: bool) -> None:
        known = {"chown", "chmod", "link"}
        if unknown := sorted(set(instruction.flags) - known):
            raise instruction.fail(f"--{unknown[0]} is not supported", self._options.file)
        listed = instruction.json()
        if listed is not None:
            words = [dockerfile.expand(word, self._scope, instruction) for word in listed]
        else:
            words = dockerfile.split(self._expand(instruction), instruction)
        if len(words) < 2:
            raise instruction.fail("needs a source and a destination", self._options.file)
        *patterns, destination = words
        for pattern in patterns:
            if "://" in pattern or pattern.startswith("git@"):
                raise instruction.fail(f"{pattern!r} is remote, only local sources are supported", self._options.file)
        sources = [source for pattern in patterns for source in self._options.context.sources(pattern)]
        target = posixpath.normpath(posixpath.join(self._workdir, destination)).strip("/")
        into = len(sources) > 1 or destination.endswith("/") or destination in (".", "..") or target in self._known
        copier = _Copier(instruction, self._options, LayerWriter(self._options.epoch))
        for source in sources:
            if source.is_directory:
                self._parents(copier.writer, f"{target}/.")
                copier.directory(source, target)
            elif unpack and tarfile.is_tarfile(source.path):
                self._parents(copier.writer, f"{target}/.")
                copier.archive(source, target)
            else:
                name = posixpath.join(target, posixpath.basename(source.name)) if into or not target else target
                self._parents(copier.writer, name)
                copier.file(source, name)
        self._close(copier.writer, instruction)

    def _parents(self, writer: LayerWriter, path: str) -> None:
        """Directories above `path` that no layer of this build has yet.

        On a base image they are left out: its own attributes (a sticky /tmp) must stay, and every runtime makes what
        is missing.
        """
        if self._base is not None:
            return
        parts = [part for part in path.split("/")[:-1] if part]
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            if name not in self._known:
                writer.add_directory(name)

    def _close(self, writer: LayerWriter, instruction: Instruction) -> None:
        self._note(instruction, empty=not writer.entries)
        if writer.entries:
            self._known.update(name for name, entry in writer.entries.items() if entry.info.isdir())
            self._layers.append(writer.write(self._options.work / f"layer-{len(self._layers)}.tar.gz"))

    def _note(self, instruction: Instruction, empty: bool) -> None:
        entry: dict[str, Any] = {
            "created": _timestamp(self._options.epoch),
            "created_by": f"{instruction.name} {instruction.text}",
        }
        if empty:
            entry["empty_layer"] = True
        self._history.append(entry)

    @property
    def _workdir(self) -> str:
        return str(self._run.get("WorkingDir") or "/")

    def _expand(self, instruction: Instruction) -> str:
        return dockerfile.expand(instruction.text, self._scope, instruction)

    @property
    def _scope(self) -> Mapping[str, str]:
        if not self._started:
            return self._global
        return {**self._arguments, **dict(item.partition("=")[::2] for item in self._run.get("Env") or ())}

    def _one(self, instruction: Instruction) -> str:
        words = dockerfile.split(self._expand(instruction), instruction)
        if len(words) != 1:
            raise instruction.fail("needs exactly one value", self._options.file)
        return words[0]


class _Copier:
    """Puts files of the context into a layer, with the owner and mode that the instruction asks for."""

    def __init__(self, instruction: Instruction, options: Options, writer: LayerWriter) -> None:
        self.writer = writer
        self._context = options.context
        self._work = options.work
        self._uid, self._gid = _owner(instruction, options.file)
        self._mode = _mode(instruction, options.file)
        self._inodes: dict[tuple[int, int], str] = {}

    def directory(self, source: Source, target: str) -> None:
        """The contents of a directory, not the directory itself."""
        for inner in self._context.below(source):
            relative = inner.name[len(source.name) :].strip("/")
            self.file(inner, posixpath.join(target, relative))

    def file(self, source: Source, name: str) -> None:
        """One entry as it is; further names of the same file become hard links."""
        info = layers.describe(source.path, name)
        info.uid, info.gid = self._uid, self._gid
        if self._mode is not None and not info.issym():
            info.mode = self._mode
        found = source.path.lstat()
        if info.isreg() and found.st_nlink > 1:
            first = self._inodes.setdefault((found.st_dev, found.st_ino), info.name)
            if first != info.name:
                info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
        self.writer.add(Entry(info, source.path))

    def archive(self, source: Source, target: str) -> None:
        """The entries of a local tar archive (ADD)."""
        with tarfile.open(source.path) as archive:
            for member in archive:
                clean = posixpath.normpath("/" + member.name).strip("/")
                if not clean:
                    continue
                member.name = posixpath.join(target, clean)
                if member.islnk():
                    member.linkname = posixpath.join(target, posixpath.normpath("/" + member.linkname).strip("/"))
                content = archive.extractfile(member) if member.isreg() else None
                member.pax_headers = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
                member.mtime = int(member.mtime)
                self.writer.add(Entry(member, self._spool(content) if content else None))

    def _spool(self, content: IO[bytes]) -> Path:
        """Keep a member's bytes in a file: an archive may hold more than memory does."""
        with tempfile.NamedTemporaryFile(dir=self._work, prefix="added-", delete=False) as file:
            shutil.copyfileobj(content, file)
        return Path(file.name)


def _command(instruction: Instruction) -> list[str]:
    listed = instruction.json()
    return listed if listed is not None else ["/bin/sh", "-c", instruction.text]


def _owner(instruction: Instruction, file: str) -> tuple[int, int]:
    text = instruction.flags.get("chown", "0:0")
    user, _, group = text.partition(":")
    if not user.isdecimal() or (group and not group.isdecimal()):
        raise instruction.fail(f"--chown={text} needs numbers: names are known only inside the image", file)
    return int(user), int(group or user)


def _mode(instruction: Instruction, file: str) -> int | None:
    text = instruction.flags.get("chmod")
    if text is None:
        return None
    if not re.fullmatch(r"[0-7]{3,4}", text):
        raise instruction.fail(f"--chmod={text} is not an octal mode", file)
    return int(text, 8)


def _timestamp(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class BuiltSource:
    """A finished build as a source of transfer.copy: own layers from files, base layers from where the base is."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._layers = {layer.descriptor.digest: layer for layer in built.local}

    def document(self, _: str) -> Document:
        return self._built.manifest

    def open(self, descriptor: Descriptor) -> IO[bytes]:
        if descriptor.digest == self._built.config.digest:
            return io.BytesIO(self._built.config.data)
        if descriptor.digest in self._layers:
            return self._layers[descriptor.digest].open()
        if self._built.base is None:
            raise BuildError(f"blob {descriptor.digest} is not part of the build")
        return self._built.base.repository.open_verified(descriptor)

    def repository(self, registry: str) -> str:
        """The base's repository, so that its layers are mounted and not copied within one registry."""
        base = self._built.base
        return base.repository.name if base and registry == base.repository.registry else ""
