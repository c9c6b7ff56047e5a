"""A decoder: a process that reads untrusted files for the service, under limits, one at a time.

Jobs come on the standard input, messages go to the standard output (see `wire`). A job that is
called off (SIGUSR1) ends between two frames. It is started as

    python -m pseudo3d.serve.child

and gets its limits in the first message.
"""

import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, BinaryIO

from pseudo3d.data.limits import Limits, confine, limited, out_of_memory
from pseudo3d.errors import Pseudo3dError
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.wire import Message, pack, read

_GRACE = 30  # s after which a decoder ends itself, if the service has not ended it
_FILES = 64  # open at once
_SPARE = 1000  # frames: the service says itself, in its own words, what is too long


class CalledOff(BaseException):
    """Nobody waits for the job any more."""


def _worker(first: dict[str, Any]) -> Any:
    """What does the jobs; without torch where pictures are all there is."""
    if first["input"] == "picture":
        from pseudo3d.serve.pictures import Pictures

        return Pictures(first)
    from pseudo3d.serve.work import Worker

    return Worker(first)


class Decoder:
    """Does the jobs it is sent."""

    def __init__(self, out: BinaryIO, first: dict[str, Any]) -> None:
        self.out = out
        self.worker = _worker(first)
        told = first["limits"]
        self.limits = Limits(pixels=told["pixels"], frames=told["frames"] + _SPARE)
        self.busy = self.sending = self.off = False
        self.seconds = int(first["limits"]["decode_seconds"] * 4 + _GRACE)
        confine(int(first["limits"]["memory"]), _FILES)
        signal.signal(signal.SIGUSR1, self._called_off)

    def _called_off(self, signum: int, frame: FrameType | None) -> None:
        if self.sending:  # half a message would spoil all that follow
            self.off = True
        elif self.busy:
            self.busy = False
            raise CalledOff

    def send(self, job: int, message: Message) -> None:
        """Pass a message on, marked as belonging to the job."""
        self.sending = True
        self.out.write(pack(Message({**message.facts, "job": job}, message.data)))
        self.out.flush()
        self.sending = False
        if self.off and self.busy:
            raise CalledOff

    def do(self, job: Message) -> bool:
        """Do one job; whether the process is still fit for another one."""
        number, last = int(job.facts["job"]), Message({"type": "end"})
        fit = True
        try:
            self.busy, self.off = True, False
            signal.alarm(self.seconds)
            with limited(self.limits):  # of decoding
                last = self._pass_on(number, self.worker.messages(job))
        except CalledOff:
            last = Message({"type": "off"})
        except Exception as err:
            fit = not out_of_memory(err)
            last = _told(err, job.facts, self.worker.limits.memory)
        self.busy = False
        signal.alarm(0)
        self.send(number, Message({**last.facts, "fit": fit}, last.data))
        return fit

    def _pass_on(self, number: int, messages: Iterator[Message]) -> Message:
        """Send all messages but the last one, which also tells that the job is over."""
        last = next(messages)
        for message in messages:
            self.send(number, last)
            last = message
        return last


def _told(err: Exception, job: dict[str, Any], memory: int) -> Message:
    """An error in the user's words: their name of the file, no path of this machine."""
    if out_of_memory(err):
        text = f"it takes more than {memory >> 20} MiB of memory to read; scale or cut it down"
        return Message({"type": "error", "code": "too_large", "message": text})
    if isinstance(err, Problem):
        code = str(err.code)
    elif isinstance(err, Pseudo3dError | OSError | ImportError):
        code = "unreadable"
    else:
        code = "internal"
        sys.stderr.write(f"decoder: {type(err).__name__}: {err}\n")
    path = str(job.get("path", ""))
    text = str(err).replace(path, str(job.get("name", "the file"))) if path else str(err)
    return Message({"type": "error", "code": code, "message": text})


def main() -> None:
    """Serve jobs until the service closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the service's
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like a message
    first = read(sys.stdin.buffer)
    if first is None:
        return
    try:
        decoder = Decoder(pipe, first.facts)
        decoder.send(-1, Message({"type": "ready"}))
        while (job := read(sys.stdin.buffer)) is not None:
            if not decoder.do(job):
                return
    except BrokenPipeError:  # the service is gone
        os._exit(1)


if __name__ == "__main__":
    main()
