"""Kinds as types of expressions."""

import pytest

from shared.objects import cel, registry
from shared.objects.cel import CompilationError
from shared.objects.kind_types import type_of_kind


def compiled(kind: tuple[str, str], expression: str) -> str:
    resource = registry.by_kind(*kind)
    assert resource is not None
    return str(cel.compile(expression, {"object": type_of_kind(resource.schema)}).type)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("object.spec.replicas", "int"),
        ("object.metadata.labels['a']", "string"),
        ("object.metadata.creationTimestamp", "timestamp"),
        ("object.spec.template.spec.containers.all(c, c.image.startsWith('a'))", "bool"),
        ("object.spec.template.spec.containers[0].resources.limits['cpu']", "dyn"),
    ],
)
def test_fields_have_their_types(expression: str, expected: str) -> None:
    assert compiled(("apps/v1", "Deployment"), expression) == expected


def test_a_field_that_is_none_is_told() -> None:
    with pytest.raises(CompilationError, match="undefined field 'replica'"):
        compiled(("apps/v1", "Deployment"), "object.spec.replica > 1")


def test_a_schema_that_holds_itself_has_an_end() -> None:
    path = "object.spec.versions[0].schema.openAPIV3Schema.properties['a'].properties['b'].type"
    assert compiled(("apiextensions.k8s.io/v1", "CustomResourceDefinition"), path) == "string"
