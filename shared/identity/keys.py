"""Private keys in files, for all that sign: certificates and tokens."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read an elliptic-curve private key; ValueError if the file holds something else."""
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} does not hold an elliptic-curve private key")
    return key
