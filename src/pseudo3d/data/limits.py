"""What reading one file may cost, and how a process keeps to it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from pseudo3d.errors import Pseudo3dError, VideoError

PIXELS = 2**26  # of a frame, where nothing else is said: 8192 x 8192, twice what 8K video has
_SCALED = 2**23  # pixels to which any frame may be scaled up
LARGEST, RATIO = 2**28, 200  # bytes that may unpack freely; beyond them, to how many times
_MEMORY = ("memoryerror", "allocate memory", "bad alloc")  # how libraries say there is none


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one call may take; what goes beyond is refused in words."""

    seconds: float = 300.0
    memory_bytes: int = 2**31  # on top of what the libraries hold
    pixels: int = PIXELS  # of a frame
    frames: int = 2**20  # decoded in one go: ten hours at 29 Hz

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise Pseudo3dError(f"limit {name} is {value!r}; wanted a number above 0")


_IN_FORCE: ContextVar[Limits | None] = ContextVar("limits", default=None)


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Hold every video that is read inside to `pixels` and `frames`."""
    before = _IN_FORCE.set(limits)
    try:
        yield
    finally:
        _IN_FORCE.reset(before)


def most_pixels() -> int:
    """Of a frame, here and now."""
    limits = _IN_FORCE.get()
    return PIXELS if limits is None else limits.pixels


def check_pixels(path: object, width: int, height: int) -> None:
    """Refuse frames that are too large.

    Raises:
        VideoError: more than `most_pixels`.
    """
    if width * height > (most := most_pixels()):
        raise VideoError(
            f"{path} has frames of {width} x {height} pixels, the limit is {most}; scale it down "
            "with ffmpeg, or read it inside pseudo3d.data.limits.limited(Limits(pixels=...))"
        )


def check_scaled(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Refuse to scale a long thin frame up until its short side is of the size that was asked for.

    Args:
        before, after: pixels, (height, width).
    Raises:
        VideoError: the frame would be huge.
    """
    if after[0] * after[1] > max(_SCALED, 4 * before[0] * before[1]):
        raise VideoError(
            f"frames of {before[1]} x {before[0]} pixels would be scaled up to {after[1]} x "
            f"{after[0]}; cut them to a usual form with ffmpeg"
        )


def check_frames(path: object, count: int) -> None:
    """Refuse one more frame than is allowed; no limit holds where none was set.

    Raises:
        VideoError: more than the limit.
    """
    limits = _IN_FORCE.get()
    if limits is not None and count > limits.frames:
        raise VideoError(
            f"{path} has more than {limits.frames} frames, the limit; cut it into parts"
        )


def held() -> int:
    """Bytes of memory that this process has taken to write on; 0 where that is not known."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))


def confine(memory: int, files: int) -> None:
    """Limit what this process may take from now on: memory on top of `held`, open files.

    RLIMIT_DATA, not RLIMIT_AS: libraries of a gigabyte are mapped, and cost nobody anything.
    """
    if base := held():
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = base + memory
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def out_of_memory(err: BaseException | None) -> bool:
    """Whether an error, or what it came from, is the limit of memory."""
    while err is not None:
        text = str(err).lower()
        if isinstance(err, MemoryError) or any(word in text for word in _MEMORY):
            return True
        err = err.__cause__
    return False


def check_unpacked(promised: int, packed: int, free: int = LARGEST) -> None:
    """Refuse what would unpack to far more than it is; small things may be as they like.

    Args:
        promised, packed: bytes.
        free: bytes that may unpack from any size.
    Raises:
        ValueError: a bomb, or a header that lies.
    """
    if promised > free and promised > RATIO * packed:
        raise ValueError(
            f"{packed} bytes that would unpack to {promised}: more than {RATIO} times as many; if "
            "you trust it, unpack it first"
        )
