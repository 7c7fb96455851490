"""Error answers of the distribution API.

Why one exception with a code: clients decide by the code of the error document, not by the status line.
Source: OCI distribution spec v1.1, section "Error Codes".
"""

import json

from aiohttp import web

STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TOO_LARGE": 413,
    "UNAVAILABLE": 503,
    "UNSUPPORTED": 405,
}


class RegistryFailure(Exception):
    """An answer other than success. `headers` go with it, for example the range that is there."""

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}

    def response(self) -> web.Response:
        """The error document with the status that belongs to its code."""
        body = json.dumps({"errors": [{"code": self.code, "message": self.message, "detail": None}]})
        return web.Response(status=STATUS[self.code], text=body, content_type="application/json", headers=self.headers)
