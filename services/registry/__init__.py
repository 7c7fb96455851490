"""The cluster's own image registry: an OCI distribution server whose storage is the cluster's JetStream."""
