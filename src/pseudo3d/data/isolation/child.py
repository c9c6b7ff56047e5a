"""The process behind `Isolated`: runs one task after the other, under limits.

Started as `python -P -m pseudo3d.data.isolation.child`; jobs come on the standard input, answers go
to the standard output, both as messages of `wire`. It ends with its parent.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from pseudo3d import errors
from pseudo3d.data.isolation.plain import plain, unplain
from pseudo3d.data.isolation.wire import Message, pack, read
from pseudo3d.data.limits import Limits, confine, limited, out_of_memory
from pseudo3d.errors import Pseudo3dError

_GRACE = 30  # s after which it ends itself, if its parent has not ended it
_LONG = 10**8  # s
_FILES = 256  # open at once
_LETTERS = 2000  # of an error


def _task(name: str) -> Callable[..., Any]:
    """The function `module:name`."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def _answers(task: Callable[..., Any], given: dict[str, Any]) -> Iterator[Message]:
    """What a task gives: one value, or those of an iterator one by one."""
    result = task(**given)
    if isinstance(result, Iterator):
        for value in result:
            told, data = plain(value)
            yield Message({"type": "item", "value": told}, data)
        yield Message({"type": "end"})
    else:
        told, data = plain(result)
        yield Message({"type": "value", "value": told}, data)


def _told(err: Exception) -> Message:
    """An error: its kind by a name of ours, and its words."""
    kind = "other"
    if out_of_memory(err):
        kind = "memory"
    elif isinstance(err, Pseudo3dError):
        ours = [c.__name__ for c in type(err).__mro__ if vars(errors).get(c.__name__) is c]
        kind = ours[0]
    elif isinstance(err, FileNotFoundError | ImportError):
        kind = "FileNotFoundError" if isinstance(err, FileNotFoundError) else "ImportError"
    elif isinstance(err, OSError):
        kind = "OSError"
    text = str(err) if kind != "other" else f"{type(err).__name__}: {err}"
    return Message({"type": "error", "kind": kind, "message": text[:_LETTERS]})


def _serve(out: Any, limits: Limits) -> None:
    known: dict[str, Callable[..., Any]] = {}

    def send(message: Message) -> None:
        out.write(pack(message))
        out.flush()

    send(Message({"type": "ready"}))
    while (job := read(sys.stdin.buffer)) is not None:
        name = str(job.facts["task"])
        try:
            if name not in known:
                known[name] = _task(name)
                confine(limits.memory_bytes, _FILES)  # its libraries do not count
            send(Message({"type": "begins"}))
            signal.alarm(int(min(limits.seconds, _LONG)) + _GRACE)
            with limited(limits):
                for answer in _answers(known[name], unplain(job.facts["given"], job.data)):
                    send(answer)
        except BrokenPipeError:
            raise
        except Exception as err:
            send(_told(err))
        signal.alarm(0)


def main() -> None:
    """Run tasks until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like a message
    first = read(sys.stdin.buffer)
    if first is None:
        return
    try:
        _serve(out, Limits(**first.facts["limits"]))
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


if __name__ == "__main__":
    main()
