"""Names, tags, manifests and links of the registry as keys of a JetStream key-value bucket.

Why purged and not tombstoned: nobody watches this bucket, so a deleted key may vanish, and then the stream's list of
subjects is exactly the list of what exists: no index is kept anywhere, every replica of the registry agrees, and a
crash between two writes leaves at worst an unreferenced key for the sweep. The layout is that of the NATS KV (ADR-8),
so `nats kv` can read it.

r.<repository>                             the repository exists
t.<repository>.<tag>                       {"digest", "mediaType"}
m.<repository>.<digest>                    the manifest's bytes, its media type in a header
b.<repository>.<digest>                    the repository may serve this blob
s.<repository>.<subject>.<digest>          descriptor of a manifest that refers to `subject`
u.<upload>                                 an upload in progress: its repository
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.bus.jetstream import JetStream

STREAM = "KV_registry"
PREFIX = "$KV.registry."
PAGE = 100_000
"""Subjects in one answer of the broker."""
CONTENT_TYPE = "Wherry-Content-Type"


@dataclass(frozen=True, slots=True)
class Value:
    """The bytes of a key with the headers they were stored with."""

    data: bytes
    headers: Mapping[str, str]


def config(replicas: int = 1) -> dict[str, object]:
    """The bucket's stream."""
    return {
        "name": STREAM,
        "subjects": [PREFIX + ">"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "num_replicas": replicas,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def key(*parts: str) -> str:
    """A key of the given parts. A dot would end a token and a colon is no key character, so both become `=`.

    Neither repositories nor tags nor digests contain `=`, and a part holds dots or colons but never both, so that
    `part` can undo it.
    """
    return ".".join(part.replace(".", "=").replace(":", "=") for part in parts)


def part(token: str, *, digest: bool = False) -> str:
    """The part a token of a key stands for."""
    return token.replace("=", ":" if digest else ".")


class Keys:
    """The bucket. Reads come from the stream's leader, so a tag is never older than its last acknowledged push."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def get(self, name: str) -> Value | None:
        """The value of a key, None if it does not exist."""
        stored = await self._jetstream.last_message(STREAM, PREFIX + name)
        return Value(stored.data, stored.headers) if stored else None

    async def put(self, name: str, data: bytes, content_type: str = "") -> None:
        """Store a value durably."""
        headers = {CONTENT_TYPE: content_type} if content_type else None
        await self._jetstream.publish(PREFIX + name, data, headers)

    async def delete(self, name: str) -> bool:
        """Remove a key; whether it existed."""
        answer = await self._jetstream.api(f"STREAM.PURGE.{STREAM}", {"filter": PREFIX + name})
        return int(answer.get("purged", 0)) > 0

    async def exists(self, name: str) -> bool:
        """Whether there is such a key, without fetching its value."""
        return bool(await self.list(name))

    async def list(self, pattern: str) -> "list[str]":
        """All keys that match a subject pattern (`t.<repository>.*`), sorted."""
        found: set[str] = set()
        while True:
            request = {"subjects_filter": PREFIX + pattern, "offset": len(found)}
            answer = await self._jetstream.api(f"STREAM.INFO.{STREAM}", request)
            subjects = answer["state"].get("subjects") or {}
            found.update(subject.removeprefix(PREFIX) for subject in subjects)
            if len(subjects) < PAGE:
                return sorted(found)
