"""Messages of `data.wire` between the service, which does not wait, and its decoders."""

from asyncio import IncompleteReadError, StreamReader

from pseudo3d.data.isolation.wire import LENGTH, LONGEST, Message, facts_of, pack, read
from pseudo3d.serve.problems import Problem

__all__ = ["Gone", "Message", "pack", "read", "receive"]


class Gone(Exception):
    """The other side has ended."""


async def receive(reader: StreamReader, most: int) -> Message:
    """The next message of a decoder, which is not trusted.

    Raises:
        Gone: it has ended, or does not keep to the form.
        Problem: more raw data than `most`.
    """
    try:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if length > LONGEST:
            raise Gone
        facts = facts_of(await reader.readexactly(length))
        size = facts.pop("bytes")
        if not 0 <= size <= most:
            raise Problem("too_large", f"a decoder gave {size} bytes at once, {most} are allowed")
        return Message(facts, await reader.readexactly(size) if size else b"")
    except Problem:
        raise
    except (IncompleteReadError, ValueError, KeyError, TypeError) as err:
        raise Gone from err
