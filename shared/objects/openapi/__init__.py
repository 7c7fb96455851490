"""OpenAPI v3 documents of the served group versions, made from the schema."""

from shared.objects.openapi.document import document, index

__all__ = ["document", "index"]
