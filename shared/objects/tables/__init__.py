"""Objects as the tables kubectl prints: columns from the schema, cells as kubectl's users know them."""

from shared.objects.tables.document import column_definitions, partial_metadata, row, table

__all__ = ["column_definitions", "partial_metadata", "row", "table"]
