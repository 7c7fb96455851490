"""The JSON of an object on its way into the store, encoded once: its size is judged by it, the answer is made of it.

What is stored bears no resourceVersion and what is answered bears the new one behind the rest of the metadata, as it
comes out of a record. So the JSON is kept in two pieces, and the revision is written between them when it is known.
"""

from typing import Any

from shared.objects import json

HEAD = ("apiVersion", "kind", "metadata")
FIELD = b',"resourceVersion":'


class Form:
    """The JSON of an object in canonical form (`render.canonical`)."""

    __slots__ = ("_head", "_tail", "size")

    def __init__(self, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        version = metadata.get("resourceVersion")
        if version is not None:
            metadata = {name: value for name, value in metadata.items() if name != "resourceVersion"}
        head = json.encode({"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata})
        rest = json.encode({name: value for name, value in obj.items() if name not in HEAD})
        # without the braces of the metadata and of the object
        self._head = head[:-2]
        self._tail = b"}}" if rest == b"{}" else b"},%b" % rest[1:]
        self.size = len(self._head) + len(self._tail)
        """Bytes of the object as it is, with the resourceVersion that it has."""
        if version is not None:
            self.size += len(FIELD) + len(json.encode(version))

    def at(self, revision: int) -> bytes:
        """The object as it is answered once it has been stored."""
        return b'%b%b"%d"%b' % (self._head, FIELD, revision, self._tail)
