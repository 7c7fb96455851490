"""OpenAPI documents of what is served, made from the schema: version 3 by group version, version 2 in one."""

from shared.objects.openapi import gnostic, version2
from shared.objects.openapi.document import document, document_name, index

__all__ = ["document", "document_name", "gnostic", "index", "version2"]
