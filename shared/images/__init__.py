"""Image formats of the OCI world: names, digests, manifests, layouts, layers, the registry client and the builder.

Why it is shared: the node agent pulls, the registry stores and `wherry image` builds and pushes the very same
documents. Everything here is standard library only, because the node agent's memory budget has no room for a second
HTTP stack.
"""
