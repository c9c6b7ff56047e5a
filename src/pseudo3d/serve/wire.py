"""Messages between the service and its decoders: a line of JSON's worth of facts, and bytes.

Four bytes say how long the JSON is; its field "bytes" how much raw data follows. Nothing is ever
unpickled: a decoder that was taken over can send numbers, no code.
"""

import json
import struct
from asyncio import IncompleteReadError, StreamReader
from typing import Any, BinaryIO, NamedTuple

from pseudo3d.serve.problems import Problem

_LENGTH = struct.Struct("<I")
_LONGEST = 2**24  # bytes of JSON


class Message(NamedTuple):
    """Facts, and the raw data they describe."""

    facts: dict[str, Any]
    data: bytes = b""


class Gone(Exception):
    """The other side has ended."""


def pack(message: Message) -> bytes:
    """As bytes."""
    text = json.dumps({**message.facts, "bytes": len(message.data)}).encode()
    return b"".join((_LENGTH.pack(len(text)), text, message.data))


def read(pipe: BinaryIO) -> Message | None:
    """The next message; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    facts = json.loads(pipe.read(_LENGTH.unpack(head)[0]))
    return Message(facts, pipe.read(facts.pop("bytes")))


async def receive(reader: StreamReader, most: int) -> Message:
    """The next message of a decoder, which is not trusted.

    Raises:
        Gone: it has ended, or does not keep to the form.
        Problem: more raw data than `most`.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > _LONGEST:
            raise Gone
        facts = json.loads(await reader.readexactly(length))
        size = facts.pop("bytes")
        if not 0 <= size <= most:
            raise Problem("too_large", f"a decoder gave {size} bytes at once, {most} are allowed")
        return Message(facts, await reader.readexactly(size) if size else b"")
    except (IncompleteReadError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as err:
        raise Gone from err
