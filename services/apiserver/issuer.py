"""The documents by which others check tokens of service accounts without asking: OpenID Connect discovery and the
public key as a JSON web key set (KEP-1393, RFC 7517, RFC 7518 section 6.2)."""

from __future__ import annotations

import base64

from services.apiserver.protocol import JSON, Outcome, Raw, Request
from shared.identity.tokens import ALGORITHM, ISSUER, TokenKey
from shared.objects import json

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/openid/v1/jwks"
KEY_SET = "application/jwk-set+json"
CACHED = (("Cache-Control", "public, max-age=3600"),)
COORDINATE_BYTES = 32


class IssuerDocuments:
    """Serves both documents; `address` is the host and port under which clients reach this server."""

    def __init__(self, key: TokenKey, address: str) -> None:
        numbers = key.public.public_numbers()
        public = {
            "use": "sig",
            "kty": "EC",
            "kid": key.identifier,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": _coordinate(numbers.x),
            "y": _coordinate(numbers.y),
        }
        configuration = {
            "issuer": ISSUER,
            "jwks_uri": f"https://{address}{KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }
        self._documents = {
            CONFIGURATION: Raw(json.encode(configuration), JSON, headers=CACHED),
            KEYS: Raw(json.encode({"keys": [public]}), KEY_SET, headers=CACHED),
        }

    def serve(self, request: Request) -> Outcome | None:
        """The document at a path; None if the path is none of these."""
        return self._documents.get(request.path)


def _coordinate(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(COORDINATE_BYTES, "big")).rstrip(b"=").decode()
