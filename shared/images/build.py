"""Build a directory and put the image into a registry: the whole way in one call, for commands and scripts."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.images.builder import BuiltSource, Options, build
from shared.images.context import Context
from shared.images.errors import BuildError
from shared.images.manifests import Platform
from shared.images.places import Registries, save
from shared.images.transfer import Report, copy


def build_and_push(
    directory: Path,
    name: str,
    registry: str,
    *,
    dockerfile: Path | None = None,
    arguments: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    platform: Platform | None = None,
    auth: Mapping[str, Any] | None = None,
    output: str = "",
    push: bool = True,
    report: Report = lambda _: None,
) -> str:
    """Build `directory` as `name`, push it to `registry` (host:port, for an unqualified name) and return its digest.

    `output` also stores it in a layout or archive (places.py), `auth` is a parsed Docker config. Raises BuildError
    naming file and line, or what the registry answers.
    """
    file = dockerfile or directory / "Dockerfile"
    platform = platform or Platform.local()
    with Registries(registry, auth) as registries, tempfile.TemporaryDirectory(prefix="wherry-build-") as work:
        reference = registries.qualify(name)
        built = build(
            Options(
                Context(directory, file),
                _read(file),
                Path(work),
                lambda base: registries.base(base, platform),
                file.name,
                arguments or {},
                labels or {},
                platform,
                epoch(),
            )
        )
        source = BuiltSource(built)
        if output:
            save(source, "", name, output, platform, report)
        if push:
            copy(source, "", registries.target(reference), reference.version, platform, report)
        return built.manifest.digest


def epoch() -> int:
    """SOURCE_DATE_EPOCH in seconds, 0 if it is not set: the same input then always gives the same digest."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not text.isdecimal():
        raise BuildError(f"SOURCE_DATE_EPOCH {text!r} is not a number of seconds")
    return int(text)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise BuildError(f"{file} cannot be read: {exc}") from exc
