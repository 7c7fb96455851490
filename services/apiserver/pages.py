"""Continue tokens: the revision a list is pinned to and the key it stopped at. Self-contained, so that any replica can
serve the next page; opaque to clients, so base64."""

import base64
import json
from dataclasses import dataclass

from services.apiserver.failures import bad_request
from shared.errors import Expired

# the wording of apimachinery's storage layer (etcd3/store.go)
LIST_EXPIRED = "The resourceVersion for the provided list is too old."
CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)
EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


LATEST = -1


@dataclass(frozen=True, slots=True)
class Page:
    """Where the next page begins: behind the key (namespace, name). A revision of LATEST is whatever is the present
    when the page is asked for: the list is then not consistent, as the client was told."""

    revision: int
    after: tuple[str, str]


class ExpiredPage(Expired):
    """An expired token; the Status carries a fresh one that goes on with the present state."""

    def __init__(self, page: Page) -> None:
        super().__init__(EXPIRED)
        self.token = encode(page)

    def status(self) -> dict[str, object]:
        return super().status() | {"metadata": {"continue": self.token}}


def encode(page: Page) -> str:
    """The token of a page."""
    text = json.dumps({"v": 1, "rv": page.revision, "after": page.after}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(token: str) -> Page:
    """The page of a token; BadRequest if it is none."""
    try:
        document = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = document["after"]
        revision = document["rv"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise bad_request("continue key is not valid: it is no token of this server") from exc
    if not isinstance(revision, int) or not isinstance(namespace, str) or not isinstance(name, str):
        raise bad_request("continue key is not valid: it names no revision or no key")
    return Page(revision, (namespace, name))


def expired(after: tuple[str, str] | None, limit: int) -> Expired:
    """The failure of a list at a revision that is gone; one that had begun gets a token for the rest."""
    if after is not None:
        return ExpiredPage(Page(LATEST, after))
    return Expired(CONTINUE_EXPIRED if limit else LIST_EXPIRED)
