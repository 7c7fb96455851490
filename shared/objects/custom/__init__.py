"""Custom resources: what a CustomResourceDefinition means, compiled to what the generic machinery works with.

A version's structural schema becomes a tree of nodes; pruning, defaulting, validation, apply and the published OpenAPI
are walks over that tree. `kinds` puts them together into a Resource, `catalog` follows the definitions of a cluster.
"""
