"""What a process behind `Isolated` does in the tests: the worst that a file could make it do."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hostile.targets import TARGETS
from pseudo3d.errors import Pseudo3dError, WeightsError


def echo(**given):
    return given


def sleep(seconds):
    time.sleep(seconds)


def spin():
    while True:
        pass


def take(count):
    """So many bytes of memory, written to."""
    return int(np.ones(count, np.uint8).sum())


def die(number):
    os.kill(os.getpid(), number)


def leave():
    os._exit(0)


def complain(kind):
    if kind == "ours":
        raise WeightsError("this file is odd")
    if kind == "missing":
        raise FileNotFoundError("no such thing")
    raise ZeroDivisionError("of all things")


def count(upto, pause=0.0):
    for i in range(upto):
        time.sleep(pause)
        yield np.full(3, i)


def chatter():
    sys.stdout.write("this is no message\n")
    sys.stdout.flush()
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def secrets():
    return [key for key in os.environ if "TOKEN" in key]


def unknown():
    return object()


def garble():
    """Write rubbish where answers go, as a process that was taken over would."""
    for number in range(3, 20):
        try:
            os.write(number, b"\xff\xff\xff\x7f" * 100)
        except OSError:
            continue


def parse(target, data):
    """Have a parser read these bytes; its refusal, or nothing."""
    with tempfile.TemporaryDirectory(prefix="p3d-hostile-") as folder:
        try:
            TARGETS[target].run(Path(folder), data)
        except Pseudo3dError as err:
            return str(err)
    return ""


def meet(target, folder, data):
    """Whether a parser takes bytes; anything but taking or refusing them is raised."""
    try:
        TARGETS[target].run(folder, data)
    except Pseudo3dError:
        return False
    return True
