"""Manifests, indexes, configurations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.images import manifests
from shared.images.errors import CorruptContent, UnsupportedImage
from shared.images.manifests import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Index, Manifest, Platform

DIGEST = "sha256:" + "b" * 64


def descriptor(**more: Any) -> dict[str, Any]:
    return {"mediaType": "x", "digest": DIGEST, "size": 3, **more}


def encoded(**document: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **document}).encode()


def test_a_manifest_reads_back_as_it_was_written() -> None:
    data = encoded(mediaType=OCI_MANIFEST, config=descriptor(), layers=[descriptor(annotations={"a": "b"})])
    parsed = manifests.parse(data, OCI_MANIFEST, "m")
    assert isinstance(parsed, Manifest)
    assert manifests.parse(parsed.encode(), "", "m") == parsed


def test_docker_manifests_are_accepted() -> None:
    data = encoded(mediaType=DOCKER_MANIFEST, config=descriptor(), layers=[])
    assert isinstance(manifests.parse(data, DOCKER_MANIFEST, "m"), Manifest)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (encoded(mediaType=OCI_MANIFEST, config=descriptor(size=-1), layers=[]), "size -1"),
        (encoded(mediaType=OCI_MANIFEST, config=descriptor(digest="sha256:../x"), layers=[]), "digest"),
        (encoded(mediaType=OCI_MANIFEST, layers=[]), "config"),
        (encoded(mediaType=OCI_MANIFEST, config=descriptor(), layers={}), "layers is not a list"),
        (encoded(mediaType=OCI_INDEX, config=descriptor(), layers=[], manifests=[]), "both an index and a manifest"),
    ],
)
def test_a_malformed_manifest_is_refused_with_the_field(data: bytes, message: str) -> None:
    with pytest.raises(CorruptContent, match=message):
        manifests.parse(data, "", "m")


def test_a_document_that_contradicts_its_content_type_is_refused() -> None:
    data = encoded(mediaType=OCI_MANIFEST, config=descriptor(), layers=[])
    with pytest.raises(CorruptContent, match="was served as"):
        manifests.parse(data, OCI_INDEX, "m")


def test_schema_1_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="schema 1"):
        manifests.parse(b'{"schemaVersion": 1}', "", "m")


def index(*platforms: dict[str, str]) -> Index:
    entries = [descriptor(digest="sha256:" + f"{i:064x}", platform=p) for i, p in enumerate(platforms)]
    parsed = manifests.parse(encoded(mediaType=OCI_INDEX, manifests=entries), OCI_INDEX, "i")
    assert isinstance(parsed, Index)
    return parsed


def test_an_index_gives_the_manifest_of_the_platform() -> None:
    found = index({"os": "linux", "architecture": "arm64"}, {"os": "linux", "architecture": "amd64"})
    assert found.select(Platform("linux", "amd64")).digest.endswith("1")


def test_the_exact_variant_is_preferred() -> None:
    found = index(
        {"os": "linux", "architecture": "arm", "variant": "v6"}, {"os": "linux", "architecture": "arm", "variant": "v7"}
    )
    assert found.select(Platform("linux", "arm", "v7")).digest.endswith("1")


def test_a_missing_platform_names_what_there_is() -> None:
    with pytest.raises(UnsupportedImage, match="offers linux/arm64"):
        index({"os": "linux", "architecture": "arm64"}).select(Platform("linux", "amd64"))


def test_a_configuration_gives_what_a_container_needs() -> None:
    data = encoded(
        os="linux",
        architecture="amd64",
        config={"Entrypoint": ["/a"], "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}, "User": "5", "Labels": None},
        rootfs={"diff_ids": [DIGEST]},
    )
    config = manifests.parse_config(data, "c")
    assert (config.entrypoint, config.cmd, config.env, config.exposed) == (["/a"], None, ["A=b"], ["80/tcp"])
    assert (config.user, config.diff_ids) == ("5", [DIGEST])


def test_a_configuration_of_the_wrong_types_is_refused() -> None:
    with pytest.raises(CorruptContent, match="Cmd is not a list of strings"):
        manifests.parse_config(encoded(config={"Cmd": "sh"}), "c")
