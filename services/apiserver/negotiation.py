"""Accept and Content-Type, read the way Kubernetes reads them, because clients depend on its exact choices.

Unlike RFC 9110, `application/*` matches nothing; `*/*` and an absent header mean JSON; a transformation (`as=Table`) is
part of the media type, and an unknown one rules the clause out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.apiserver.failures import not_acceptable
from services.apiserver.protocol import JSON, MEDIA_TYPES, PROTOBUF, YAML

META_GROUP = "meta.k8s.io"
TRANSFORMATIONS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
META_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Clause:
    """One media type of a header with its parameters and quality."""

    media: str
    parameters: Mapping[str, str]
    quality: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of the answer: a media type and, if asked for, a transformation and its meta.k8s.io version."""

    media: str
    transformation: str = ""
    version: str = "v1"

    @property
    def api_version(self) -> str:
        return f"{META_GROUP}/{self.version}"


@lru_cache(maxsize=512)
def parse(header: str) -> tuple[Clause, ...]:
    """The clauses of an Accept header, best first; equal ones in their order."""
    clauses = []
    for part in header.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if not media:
            continue
        values = {}
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            values[name.strip().lower()] = value.strip().strip('"')
        clauses.append(Clause(media.lower(), values, _quality(values.pop("q", "1"))))
    clauses.sort(key=lambda clause: -clause.quality)
    return tuple(clauses)


@lru_cache(maxsize=512)
def accept(header: str, *, transformations: bool = True, protobuf: bool = True) -> Accepted:
    """Choose the form of an answer; NotAcceptable if the header leaves none.

    Without `protobuf` only transformations, whose kinds are known, can be had in it.
    """
    clauses = parse(header)
    if not clauses:
        return Accepted(JSON)
    for clause in clauses:
        if clause.media == "*/*":
            return Accepted(JSON)
        if clause.media not in MEDIA_TYPES:
            continue
        transformation = clause.parameters.get("as", "")
        if not transformation:
            if clause.media == PROTOBUF and not protobuf:
                continue
            return Accepted(clause.media)
        version = clause.parameters.get("v", "v1")
        if not transformations or clause.parameters.get("g", META_GROUP) != META_GROUP:
            continue
        if transformation not in TRANSFORMATIONS or version not in META_VERSIONS:
            continue
        if transformation == "Table" and clause.media == PROTOBUF:
            continue
        return Accepted(clause.media, transformation, version)
    raise not_acceptable(MEDIA_TYPES)


def content_type(header: str) -> str:
    """The media type of a request body without parameters; JSON if the header is absent."""
    return header.partition(";")[0].strip().lower() or JSON


def is_known(media: str) -> bool:
    """Whether a body of this media type can be read."""
    return media in (JSON, YAML, PROTOBUF)


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
