"""Messages between a process and one that reads files it does not trust.

Four bytes say how long the JSON is; its field "bytes" how much raw data follows. Nothing is ever
unpickled: a process that a file took over can send numbers, no code.
"""

import json
import struct
from typing import Any, BinaryIO, NamedTuple

LENGTH = struct.Struct("<I")
LONGEST = 2**24  # bytes of JSON


class Message(NamedTuple):
    """Facts, and the raw data they describe."""

    facts: dict[str, Any]
    data: bytes = b""


def pack(message: Message) -> bytes:
    """As bytes."""
    text = json.dumps({**message.facts, "bytes": len(message.data)}).encode()
    return b"".join((LENGTH.pack(len(text)), text, message.data))


def read(pipe: BinaryIO) -> Message | None:
    """The next message; None at the end."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    facts = json.loads(pipe.read(LENGTH.unpack(head)[0]))
    return Message(facts, pipe.read(facts.pop("bytes")))


def facts_of(text: bytes) -> dict[str, Any]:
    """The JSON of a message from a sender that is not trusted.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        facts = json.loads(text)
    except RecursionError as err:
        raise ValueError("nested too deeply") from err
    if not isinstance(facts, dict):
        raise ValueError("no JSON object")
    return facts
