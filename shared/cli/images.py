"""`wherry image`: build, push, pull, list, load, save, remove and inspect, always against a registry.

Why no local image store: the nodes pull from the cluster's registry, so that is where an image has to be; what is on a
single machine is a file (an OCI layout or an archive).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from shared.cli.cluster import existing
from shared.errors import ImageError
from shared.images import manifests, references
from shared.images.build import build_and_push
from shared.images.manifests import Index, Platform
from shared.images.places import Registries, is_path, open_path, save
from shared.images.transfer import copy, image_manifest


def add_parsers(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `image` with its subcommands; each sets `func`."""
    parser = subparsers.add_parser("image", help="build, move and inspect images", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--registry",
        metavar="HOST:PORT",
        help="the registry that names without one mean (default: that of --data, $WHERRY_REGISTRY, or the cluster's)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    build = _command(commands, "build", _build, "build an image from a Dockerfile (without RUN) and push it")
    build.add_argument("directory", type=Path, metavar="DIR", help="the build context")
    build.add_argument("-t", "--tag", required=True, metavar="NAME", help="name of the image, for example web:1")
    build.add_argument("-f", "--file", type=Path, metavar="FILE", help="the Dockerfile (default: DIR/Dockerfile)")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="set an ARG")
    build.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="add a label")
    build.add_argument("--push", action="store_true", help="push although -o is given")
    build.add_argument("-o", "--output", default="", metavar="WHERE", help=_WHERE)
    _platform(build)

    push = _command(commands, "push", _push, "copy an image from the cluster's registry, or a file, to a registry")
    push.add_argument("source", help=f"a name, or {_WHERE}")
    push.add_argument("target", help="name in the registry it goes to")
    _platform(push)

    pull = _command(commands, "pull", _pull, "copy an image of another registry into the cluster's registry")
    pull.add_argument("source", help="name with its registry, for example docker.io/library/nginx:1")
    pull.add_argument("target", nargs="?", help="name in the cluster's registry (default: the same without registry)")
    _platform(pull)

    listing = _command(commands, "ls", _list, "list repositories and tags of the cluster's registry")
    listing.add_argument("repository", nargs="?", help="only this repository")
    listing.add_argument("-q", "--quiet", action="store_true", help="names only")

    load = _command(commands, "load", _load, "push every image of an archive or layout to the cluster's registry")
    load.add_argument("-i", "--input", default="-", metavar="FILE", help=f"{_WHERE}; - is standard input")
    load.add_argument("-t", "--tag", metavar="NAME", help="name for an archive that holds one image")
    _platform(load)

    store = _command(commands, "save", _save, "store an image of a registry in a file")
    store.add_argument("name")
    store.add_argument("-o", "--output", required=True, metavar="WHERE", help=_WHERE)
    _platform(store)

    remove = _command(commands, "rm", _remove, "remove tags, or manifests by digest, from the cluster's registry")
    remove.add_argument("name", nargs="+")

    inspect = _command(commands, "inspect", _inspect, "show manifest and configuration of an image as JSON")
    inspect.add_argument("name", help=f"a name, or {_WHERE}")
    inspect.add_argument("--raw", action="store_true", help="the manifest's or index's own bytes")
    _platform(inspect)


_WHERE = "oci:DIR, oci-archive:FILE, docker-archive:FILE, or a path (FILE.tar is a docker archive)"


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace, Registries], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--data", help="the cluster's data directory")
    parser.set_defaults(func=partial(_run, function))
    return parser


def _platform(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--platform", type=_parse_platform, default=Platform.local(), metavar="OS/ARCH[/VARIANT]")


def _parse_platform(text: str) -> Platform:
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not OS/ARCH[/VARIANT]")
    return Platform(*parts)


def _run(function: Callable[[argparse.Namespace, Registries], int], args: argparse.Namespace) -> int:
    """Run a subcommand with the registries it may talk to, the user's `docker login` included."""
    directory = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    path = Path(directory) / "config.json"
    try:
        auth = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError) as exc:
        raise ImageError(f"{path} cannot be read: {exc}") from exc
    chosen = args.registry or (not args.data and os.environ.get("WHERRY_REGISTRY"))
    cluster = chosen or existing(args.data).registry_address
    with Registries(cluster, auth) as registries:
        return function(args, registries)


def _report(line: str) -> None:
    print(line, file=sys.stderr)


def _pairs(items: list[str], option: str) -> dict[str, str]:
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key:
            raise ImageError(f"{option} {item!r} is not NAME=VALUE")
        found[key] = value if equals else os.environ.get(key, "")
    return found


def _build(args: argparse.Namespace, registries: Registries) -> int:
    digest = build_and_push(
        args.directory,
        args.tag,
        registries.cluster,
        dockerfile=args.file,
        arguments=_pairs(args.build_arg, "--build-arg"),
        labels=_pairs(args.label, "--label"),
        platform=args.platform,
        auth=registries.auth,
        output=args.output,
        push=args.push or not args.output,
        report=_report,
    )
    print(digest)
    return 0


def _push(args: argparse.Namespace, registries: Registries) -> int:
    target = registries.qualify(args.target)
    if is_path(args.source):
        with open_path(args.source) as source:
            digest = copy(source, "", registries.target(target), target.version, args.platform, _report)
    else:
        reference = registries.qualify(args.source)
        digest = copy(
            registries.source(reference),
            reference.version,
            registries.target(target),
            target.version,
            args.platform,
            _report,
        )
    print(digest)
    return 0


def _pull(args: argparse.Namespace, registries: Registries) -> int:
    # a name without a registry would mean the cluster's own, from which there is nothing to pull
    source = references.candidates(references.parse(args.source), "")[0]
    name = args.target or f"{source.repository}:{source.tag or 'latest'}"
    target = registries.qualify(name)
    digest = copy(
        registries.source(source), source.version, registries.target(target), target.version, args.platform, _report
    )
    print(digest)
    return 0


def _list(args: argparse.Namespace, registries: Registries) -> int:
    names = [args.repository] if args.repository else registries.repositories()
    rows = []
    for name in names:
        repository = registries.repository(registries.qualify(name))
        for tag in repository.tags():
            if args.quiet:
                rows.append([f"{name}:{tag}"])
                continue
            document = repository.manifest(tag)
            parsed = manifests.parse(document.data, document.media_type, f"{name}:{tag}")
            if isinstance(parsed, Index):
                size, platform = "-", f"{len(parsed.manifests)} manifests"
            else:
                size = _human(sum(layer.size for layer in parsed.layers))
                config = manifests.parse_config(repository.small_blob(parsed.config, f"{name}:{tag}"), f"{name}:{tag}")
                platform = str(config.platform)
            rows.append([name, tag, document.digest[7:19], platform, size])
    if not args.quiet:
        rows.insert(0, ["REPOSITORY", "TAG", "DIGEST", "PLATFORM", "SIZE"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _load(args: argparse.Namespace, registries: Registries) -> int:
    if args.input == "-":
        with tempfile.NamedTemporaryFile(prefix="wherry-image-", suffix=".tar") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
            _load_path(f"docker-archive:{spool.name}", args, registries)
    else:
        _load_path(args.input, args, registries)
    return 0


def _load_path(where: str, args: argparse.Namespace, registries: Registries) -> None:
    with open_path(where) as source:
        names = source.names()
        if args.tag:
            names = [""]
        if not names:
            raise ImageError(f"the images in {where} have no names, give one with -t")
        for name in names:
            target = registries.qualify(args.tag or name).at(registries.cluster)
            copy(source, name, registries.target(target), target.version, args.platform, _report)
            print(f"loaded {target}")


def _save(args: argparse.Namespace, registries: Registries) -> int:
    reference = registries.qualify(args.name)
    source = registries.source(reference)
    print(save(source, reference.version, args.name, args.output, args.platform, _report))
    return 0


def _remove(args: argparse.Namespace, registries: Registries) -> int:
    for name in args.name:
        reference = registries.qualify(name)
        registries.repository(reference).delete_manifest(reference.version)
        print(f"removed {name}")
    return 0


def _inspect(args: argparse.Namespace, registries: Registries) -> int:
    if is_path(args.name):
        with open_path(args.name) as source:
            return _show(args, source, "")
    reference = registries.qualify(args.name)
    return _show(args, registries.source(reference), reference.version)


def _show(args: argparse.Namespace, source: Any, version: str) -> int:
    document = source.document(version)
    if args.raw:
        sys.stdout.write(document.data.decode())
        return 0
    image, manifest = image_manifest(source, version, args.platform)
    with source.open(manifest.config) as stream:
        config = manifests.decode(stream.read(), f"configuration of {args.name}")
    shown = {
        "name": args.name,
        "digest": document.digest,
        "imageDigest": image.digest,
        "id": manifest.config.digest,
        "manifest": manifests.decode(image.data, args.name),
        "config": config,
    }
    print(json.dumps(shown, indent=2))
    return 0


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
