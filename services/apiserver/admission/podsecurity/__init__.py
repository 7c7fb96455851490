"""Pod Security admission (KEP-2579): namespaces say by labels how much their pods may do on a node."""
