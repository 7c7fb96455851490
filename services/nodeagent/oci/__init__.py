"""Wherry's runtime behind the command line that Docker, containerd and podman expect of an OCI runtime."""
