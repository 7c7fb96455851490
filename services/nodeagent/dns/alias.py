"""Records of an answer, moved under another question: what an ExternalName service answers besides its CNAME.

Exists because compression pointers only hold in the message they were made for. It is rare, so that the library may do
it.
"""

import io

import dns.exception
import dns.message

from services.nodeagent.dns import wire
from services.nodeagent.dns.wire import Answer


def relocated(answer: Answer, name: bytes, kind: int) -> tuple[bytes, int]:
    """The records of the answer section without compression, and how many; ValueError if they are malformed."""
    counts = b"\0\1" + answer.answers.to_bytes(2, "big") + bytes(4)
    message = b"\0\0\x84\0" + counts + name + kind.to_bytes(2, "big") + b"\0\1" + answer.body
    try:
        parsed = dns.message.from_wire(message, ignore_trailing=True)
    except dns.exception.DNSException as exc:
        raise ValueError(f"answer for {wire.decode_name(name)}: {exc}") from exc
    moved = io.BytesIO()
    count = sum(records.to_wire(moved) for records in parsed.answer)
    return moved.getvalue(), count
