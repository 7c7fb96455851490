"""From and to pyroute2's rtnetlink messages, whose attributes have the kernel's names, such as IFLA_MTU.

Exists so that pyroute2 is loaded by the first message and not by every short command that might have sent one, and so
that what a node asks of every pod's namespace, its routes for example, is encoded once: that takes pyroute2 0.1 ms.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, TypeAlias

from shared.kernel.netlink import wire
from shared.kernel.netlink.wire import Message, Reply

Fields: TypeAlias = tuple[tuple[str, int], ...]
Attribute: TypeAlias = "tuple[str, int | str | Structure]"


@dataclass(frozen=True, slots=True)
class Structure:
    """The value of an attribute that is a C structure, or holds attributes, or both."""

    attributes: tuple[Attribute, ...] = ()
    fields: Fields = ()


@cache
def _messages() -> ModuleType:
    from shared.kernel.netlink import messages

    return messages


def nested(*attributes: Attribute) -> Structure:
    """The value of an attribute that holds attributes."""
    return Structure(attributes)


@lru_cache(maxsize=256)
def request(kind: str, flags: int, fields: Fields, *attributes: Attribute) -> Message:
    """A request such as RTM_NEWLINK: `flags` are wire.F_*, `fields` those of the structure that follows the header.

    pyroute2 silently leaves out attributes whose names it does not know.
    """
    number = _messages().NUMBERS[kind]
    message = _messages().CLASSES[number]()
    message.update(_plain(Structure(attributes, fields)))
    message.encode()
    return Message(number, flags, bytes(message.data[wire.HEADER_SIZE :]))


def _plain(structure: Structure) -> dict[str, Any]:
    attributes = [
        (name, _plain(value) if isinstance(value, Structure) else value) for name, value in structure.attributes
    ]
    return {**dict(structure.fields), "attrs": attributes}


def content(reply: Reply) -> Any:
    """A reply as pyroute2's message: fields as items, attributes through get_attr, which is None for an absent one."""
    message = _messages().CLASSES[reply.kind](reply.packet)
    message.decode()
    return message
