"""Image names: `[registry/]repository[:tag][@digest]`.

Why a resolver here: an unqualified name means the cluster's own registry first and Docker Hub after it, and the agent,
the builder and the command line must agree on that.
Source: the reference grammar of the distribution project; OCI distribution spec v1.1, "Pulling manifests".
"""

import re
from dataclasses import dataclass, replace

from shared.images import digests
from shared.images.errors import InvalidReference

DEFAULT_TAG = "latest"
DOCKER_HUB = "docker.io"
NAME_LIMIT = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\]"
REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
REGISTRY = re.compile(rf"(?:{_HOST})(?::[0-9]{{1,5}})?\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed name. `registry` is "" while the name is unqualified; `tag` and `digest` are "" when absent."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        name = f"{self.registry}/{self.repository}" if self.registry else self.repository
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return name + tag + digest

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def at(self, registry: str) -> "Reference":
        """The same name in another registry."""
        return replace(self, registry=registry)


def parse(text: str) -> Reference:
    """Parse a reference; a name with neither tag nor digest gets `latest`. Raises InvalidReference naming the text."""
    rest, at, digest = text.partition("@")
    if at and not digests.is_digest(digest):
        raise InvalidReference(f"image reference {text!r} has an invalid digest")
    registry, rest = _split_registry(rest)
    if registry and not REGISTRY.match(registry):
        raise InvalidReference(f"image reference {text!r} has an invalid registry {registry!r}")
    repository, colon, tag = rest.partition(":")
    if colon and not TAG.match(tag):
        raise InvalidReference(f"image reference {text!r} has an invalid tag {tag!r}")
    if not REPOSITORY.match(repository) or len(repository) > NAME_LIMIT:
        raise InvalidReference(f"image reference {text!r} has an invalid repository {repository!r}")
    if not tag and not digest:
        tag = DEFAULT_TAG
    return Reference(registry, repository, tag, digest)


def _split_registry(name: str) -> tuple[str, str]:
    """A first component with a dot, a colon or an upper-case letter, or `localhost`, is a registry."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first or first.lower() != first):
        return first, rest
    return "", name


def candidates(reference: Reference, cluster_registry: str) -> list[Reference]:
    """The qualified references to try, in order.

    An unqualified name is looked up in the cluster's registry (if there is one), then at Docker Hub, where a single
    component means `library/<name>`.
    """
    if reference.registry:
        return [_hub_form(reference)]
    hub = _hub_form(reference.at(DOCKER_HUB))
    return [reference.at(cluster_registry), hub] if cluster_registry else [hub]


def _hub_form(reference: Reference) -> Reference:
    if reference.registry in (DOCKER_HUB, "index.docker.io") and "/" not in reference.repository:
        return replace(reference, registry=DOCKER_HUB, repository=f"library/{reference.repository}")
    return reference
