"""A thread that keeps pictures: event clips with what came before them, annotated recordings."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pseudo3d.errors import VideoError
from pseudo3d.watch.films import Film, Ring, name_of, tidy
from pseudo3d.watch.overlay import Caption, captioned
from pseudo3d.watch.reports import Note, Report, iso, wall
from pseudo3d.watch.slot import Frame

_ROOM = 128 << 20  # bytes of frames that wait to be coded; the rest is left out
_TOGETHER = 4  # clips of one source at a time
_PAUSE = 60.0  # s without recording after the disk refused


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept as video."""

    clips: Path | None = None  # folder; a clip of every event
    before: float = 3.0  # s before an event begins
    after: float = 2.0  # s after it has ended
    longest: float = 60.0  # s of a clip
    recording: Path | None = None  # folder; everything, annotated
    minutes: float = 10.0  # of one file of a recording
    keep: int | None = None  # bytes of recordings; the oldest ones go

    @property
    def anything(self) -> bool:
        return self.clips is not None or self.recording is not None


@dataclass
class _Clip:
    label: str
    film: Film
    begin: float  # s on the monotonic clock
    until: float | None = None  # s, when it is complete


@dataclass
class _Tape:
    """What is kept of one source."""

    name: str
    ring: Ring
    clips: list[_Clip] = field(default_factory=list)
    roll: Film | None = None
    paused: float = 0.0  # s on the monotonic clock until which nothing is recorded
    short: bool = False  # whether it was said that the ring has too little room


class Recorder:
    """Codes video in a thread of its own, so that a decision never waits for it.

    Args:
        note: is told what goes wrong.
        tell: gets a report of each clip that is complete.
        hold: s after its beginning that an event is told at the earliest; so much longer the
            frames before it are kept.
    """

    def __init__(
        self, plan: Keeping, note: Note, tell: Callable[[Report], None], *, hold: float = 0.0
    ) -> None:
        self.plan, self._note, self._tell = plan, note, tell
        self._back = plan.before + hold + 1
        self.left_out, self._waiting_bytes = 0, 0
        self._tapes: dict[str, _Tape] = {}
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...], int]] = deque()
        self._changed, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def add(self, source: str, frame: Frame, caption: Caption | None) -> None:
        """Keep a frame, where there is need and time for it."""
        size = frame.image.nbytes
        if self._waiting_bytes + size > _ROOM:
            self.left_out += 1
            if self.left_out & (self.left_out - 1) == 0:  # at 1, 2, 4, 8 ...
                self._note(f"coding video is too slow: {self.left_out} frames left out so far")
            return
        self._later(self._add, source, frame, caption, size=size)

    def begin(self, source: str, label: str, taken: float) -> None:
        """An event has begun at `taken`, s on the monotonic clock."""
        self._later(self._begin, source, label, taken)

    def end(self, source: str, label: str, taken: float) -> None:
        """It has ended."""
        self._later(self._end, source, label, taken)

    def close(self) -> None:
        """Code what waits and finish all files; they are playable afterwards."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _later(self, do: Callable[..., None], *what: Any, size: int = 0) -> None:
        with self._changed:
            self._waiting.append((do, what, size))
            self._waiting_bytes += size
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    self._changed.wait(0.5)
                task = self._waiting.popleft() if self._waiting else None
            if task is None:
                self._finish_due(math.inf if self._closing else time.monotonic())
                if self._closing:
                    return
                continue
            do, what, size = task
            try:
                do(*what)
            except Exception as err:  # one picture must not end the keeping of all others
                self._note(f"a frame or clip is lost: {type(err).__name__}: {err}")
            with self._changed:
                self._waiting_bytes -= size

    def _tape(self, source: str) -> _Tape:
        if source not in self._tapes:
            self._tapes[source] = _Tape(source, Ring(self._back))
        return self._tapes[source]

    def _add(self, source: str, frame: Frame, caption: Caption | None) -> None:
        tape, taken = self._tape(source), frame.taken
        if self.plan.clips is not None:
            tape.ring.add(frame.image, taken)
            for clip in list(tape.clips):
                if clip.until is None or taken <= clip.until:
                    self._write(tape, clip, frame)
        if self.plan.recording is not None and taken >= tape.paused:
            self._record(tape, self.plan.recording, frame, caption)
        self._finish_due(taken)

    def _write(self, tape: _Tape, clip: _Clip, frame: Frame) -> None:
        try:
            clip.film.add(frame.image, frame.taken)
        except VideoError as err:
            tape.clips.remove(clip)
            self._note(str(err))

    def _begin(self, source: str, label: str, taken: float) -> None:
        tape, folder = self._tape(source), self.plan.clips
        if folder is None:
            return
        if len(tape.clips) == _TOGETHER:
            self._note(f"{source}: {_TOGETHER} clips are open; none of {label!r} is saved")
            return
        clip = _Clip(label, Film(folder / name_of(source, label, wall=wall(taken))), taken)
        tape.clips.append(clip)
        begin = taken - self.plan.before
        if tape.ring.forgot >= begin and not tape.short:
            tape.short = True
            self._note(
                f"{source}: {tape.ring.room >> 20} MiB hold less than the {self._back:.0f} s "
                "before an event; clips begin later. Lower --before, --hold, or the camera's size"
            )
        try:
            for when, image in tape.ring.since(begin):
                clip.film.add(image, when)
        except VideoError as err:
            tape.clips.remove(clip)
            self._note(str(err))

    def _end(self, source: str, label: str, taken: float) -> None:
        for clip in self._tape(source).clips:
            if clip.label == label and clip.until is None:
                clip.until = taken + self.plan.after

    def _record(self, tape: _Tape, folder: Path, frame: Frame, caption: Caption | None) -> None:
        if tape.roll is not None and tape.roll.seconds >= 60 * self.plan.minutes:
            self._finish_roll(tape)
        if tape.roll is None:
            tape.roll = Film(folder / name_of(tape.name, wall=wall(frame.taken)))
        try:
            tape.roll.add(captioned(frame.image, caption), frame.taken)
        except VideoError as err:
            tape.roll, tape.paused = None, frame.taken + _PAUSE
            self._note(f"{err}; recording pauses for {_PAUSE:.0f} s")

    def _finish_roll(self, tape: _Tape) -> None:
        roll, tape.roll = tape.roll, None
        if roll is None or not roll.count:
            return
        try:
            roll.close()
            if self.plan.keep is not None:
                tidy(roll.path.parent, self.plan.keep)
        except (VideoError, OSError) as err:
            self._note(str(err))

    def _finish_due(self, now: float) -> None:
        """Finish the clips that are complete at `now`; at infinity, everything."""
        for tape in self._tapes.values():
            for clip in list(tape.clips):
                until = math.inf if clip.until is None else clip.until
                if now >= until or clip.film.seconds >= self.plan.longest:
                    tape.clips.remove(clip)
                    self._finish(tape, clip)
            if now == math.inf:
                self._finish_roll(tape)

    def _finish(self, tape: _Tape, clip: _Clip) -> None:
        film = clip.film
        try:
            film.close()
        except VideoError as err:
            self._note(str(err))
            return
        self._tell(
            {
                "event": "clip",
                "source": tape.name,
                "label": clip.label,
                "time": iso(wall(clip.begin)),
                "path": str(film.path),
                "seconds": round(film.seconds, 3),
                "frames": film.count,
            }
        )
