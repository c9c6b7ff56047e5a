"""Have uploads read by decoders: videos window by window, scans at once."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.serve.decoders import Decoders
from pseudo3d.serve.problems import INTERNAL, Problem
from pseudo3d.serve.upload import Upload
from pseudo3d.serve.wire import Gone, Message

_TRIES = 3  # decoders that may end over one file, killed from outside among them


@dataclass(frozen=True)
class Window:
    """A window of a video, as a decoder cut it."""

    start: float  # s
    end: float
    clips: Tensor  # (N, C, T, H, W) bytes, its views
    times: tuple[float, ...]  # s, of the frames of the middle view


Use = Callable[[Window], Awaitable[None]]


@dataclass
class Film:
    """What a decoder told of a video."""

    fps: float = 0.0
    width: int = 0
    height: int = 0
    frames: int = 0
    duration: float = 0.0
    problem: str | None = None
    spans: list[tuple[float, float]] = field(default_factory=list)


class Reader:
    """Reads uploads with decoders.

    Args:
        pre: what the network takes, a clip of videos; None for scans.
    """

    def __init__(self, decoders: Decoders, pre: Preprocessing | None) -> None:
        self.decoders, self.pre = decoders, pre

    async def cut(
        self, upload: Upload, use: Use, anew: Callable[[], None], *, fine: bool = False
    ) -> Film:
        """Have a video cut and every window used; a decoder that ends is given one more try.

        Args:
            anew: is called before the second try; what the first one gave does not count.
            fine: in windows also where the video is no longer than one.
        Raises:
            Problem: the file cannot be read, or goes beyond a limit.
        """
        for _ in range(_TRIES):
            anew()
            film = Film()
            try:
                async with aclosing(self.decoders.run({**_job(upload), "fine": fine})) as messages:
                    async for message in messages:
                        await self._note(film, message, use)
            except Gone:
                continue
            if film.spans:
                return film
            raise Problem(
                "unreadable", f"{upload.name}: no frame can be decoded; send another file"
            )
        raise Problem(
            "unreadable",
            f"{upload.name}: the decoder ended each time it read this; re-encode it with ffmpeg",
        )

    async def _note(self, film: Film, message: Message, use: Use) -> None:
        facts = message.facts
        if facts["type"] == "video":
            film.fps = float(facts["fps"])
            film.width, film.height = int(facts["width"]), int(facts["height"])
        elif facts["type"] == "end":
            film.frames, film.duration = int(facts["frames"]), float(facts["duration"])
            film.problem = facts["problem"]
        else:
            window = self._window(message)
            film.spans.append((window.start, window.end))
            await use(window)

    def _window(self, message: Message) -> Window:
        """The window of a message; a decoder is not trusted with its shape.

        Raises:
            Problem: it is not what the network takes.
        """
        facts, pre = message.facts, self.pre
        count, *rest = (int(n) for n in facts["shape"])
        if pre is None or rest[1:] != [pre.frames, *pre.size] or count < 1:
            raise Problem("internal", INTERNAL)
        clips = torch.frombuffer(bytearray(message.data), dtype=torch.uint8)
        return Window(
            float(facts["start"]),
            float(facts["end"]),
            clips.view(count, *rest),
            tuple(float(t) for t in facts["times"]),
        )

    async def scan(self, upload: Upload, asked: dict[str, Any]) -> dict[str, Any]:
        """What the network sees in a scan.

        Args:
            asked: `top`, and which scan of the file: `series`, `index`.
        Raises:
            Problem: the file cannot be read, or goes beyond a limit.
        """
        for _ in range(_TRIES):
            found: dict[str, Any] = {}
            try:
                async with aclosing(self.decoders.run({**_job(upload), **asked})) as messages:
                    async for message in messages:
                        if "answer" in message.facts:
                            found = message.facts["answer"]
                            found["viewer"] = message.data.decode() or None
            except Gone:
                continue
            return found
        raise Problem("unreadable", f"{upload.name}: the decoder ended each time it read this")


def _job(upload: Upload) -> dict[str, Any]:
    return {"type": "file", "path": str(upload.path), "name": upload.name}
