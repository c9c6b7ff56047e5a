"""Several sources, one network: newest frames in, decisions and events out, for days."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, Protocol

from pseudo3d.engine.live import Decision, Live, LiveState
from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.plots import class_color
from pseudo3d.watch.events import Event, Rule, Watch
from pseudo3d.watch.feed import Feed
from pseudo3d.watch.meter import Meter
from pseudo3d.watch.overlay import Caption
from pseudo3d.watch.recorder import Keeping, Recorder
from pseudo3d.watch.reports import Note, Report, iso, wall
from pseudo3d.watch.slot import Frame
from pseudo3d.watch.sources import Source

_TICK = 0.1  # s, the longest nap between two looks at everything
_SLOW = 0.5  # share of the pace of training below which a source is too slow
_LONG = 15.0  # s after which a source is judged by its rate


class Audience(Protocol):
    """Sees every frame that is looked at; a window on the screen, a measurement."""

    def __call__(
        self, source: Source, frame: Frame, caption: Caption | None, decision: Decision | None
    ) -> None: ...


@dataclass
class Seat:
    """One source and where the watcher is with it."""

    source: Source
    feed: Feed
    state: LiveState
    watch: Watch
    meter: Meter = field(default_factory=Meter)
    newest: Decision | None = None
    caption: Caption | None = None
    taken: float = 0.0  # s on the monotonic clock, of the newest frame
    first: float | None = None  # s on the source's clock, of the first frame
    since: float = 0.0  # s on the monotonic clock, of the first frame since it was last lost
    warned: bool = False
    began: dict[str, float] = field(default_factory=dict)  # s on the monotonic clock, of events


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is made of the decisions."""

    rules: tuple[Rule, ...]
    keeping: Keeping = field(default_factory=Keeping)
    decisions: bool = False  # report every decision, too


class Watcher:
    """Looks at sources until they end or `stop` is set.

    Everything that happens is a report, a small dictionary: `start` and `end` of events, `clip`
    when its file is complete, `live`, `lost`, `damaged` and `ended` of sources, and, if wanted,
    every `decision`.

    Args:
        tell: gets the reports, from this thread or the recorder's.
        note: is told what a person should know.
        audience: sees the frames.
    """

    def __init__(
        self,
        live: Live,
        plan: Plan,
        tell: Callable[[Report], None],
        note: Note,
        audience: Sequence[Audience] = (),
    ) -> None:
        self.live, self.plan, self.audience = live, plan, audience
        self._tell, self._note = tell, note
        self.stop = threading.Event()
        self.seats: list[Seat] = []
        self._recorder: Recorder | None = None

    def run(self, sources: Sequence[Source], seconds: float | None = None) -> list[Meter]:
        """Watch; returns when all sources have ended, `stop` is set or the time is over.

        Returns:
            What each source has shown.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with ExitStack() as closing:
            if self.plan.keeping.anything:
                hold = max((rule.hold for rule in self.plan.rules), default=0.0)
                self._recorder = Recorder(self.plan.keeping, self._note, self._tell, hold=hold)
                closing.callback(self._recorder.close)
            closing.callback(self._leave)
            for source in sources:
                feed = Feed(source)
                closing.callback(feed.close)
                self.seats.append(Seat(source, feed, self.live.start(), Watch(self.plan.rules)))
                feed.start()
            while not self.stop.is_set() and not all(seat.feed.ended for seat in self.seats):
                if end is not None and time.monotonic() >= end:
                    break
                self.turn()
        return [seat.meter for seat in self.seats]

    def turn(self) -> None:
        """Wait a moment for news and look at each source once, so that none starves another."""
        connections = [seat.feed.connection for seat in self.seats]
        if alive := [one for one in connections if one is not None]:
            wait(alive, _TICK)
        else:
            self.stop.wait(_TICK)
        for seat in self.seats:
            messages = seat.feed.messages()
            if (frame := seat.feed.read()) is not None:
                self._look(seat, frame)
            messages += [lost] if (lost := seat.feed.supervise()) is not None else []
            for message in messages:
                self._hear(seat, message)

    def _look(self, seat: Seat, frame: Frame) -> None:
        seat.meter.frame(frame.number)
        seat.first = frame.time if seat.first is None else seat.first
        seat.since, seat.taken = seat.since or frame.taken, frame.taken
        try:
            decision, seat.state = self.live.push(frame.image, frame.time, seat.state)
        except Pseudo3dError as err:  # one bad frame does not end the watch
            self._note(f"{seat.source.name}: {err}")
            return
        if decision is not None:
            seat.newest = decision
            seat.meter.decision(frame.taken)
            self._decide(seat, decision, frame)
        elif time.monotonic() - seat.since > _LONG:
            self._warn_if_slow(seat)
        if self._recorder is not None:
            self._recorder.add(seat.source.name, frame, seat.caption)
        for look in self.audience:
            look(seat.source, frame, seat.caption, decision)

    def _decide(self, seat: Seat, decision: Decision, frame: Frame) -> None:
        events, seat.watch = seat.watch.see(decision)
        seat.caption = Caption(
            label=decision.label,
            share=round(decision.probability, 2),
            color=class_color(self.live.classes.index(decision.label)),
            aside=f"{1000 * seat.meter.latency:.0f} ms  {seat.meter.fps:.0f} fps",
            alarm=bool(seat.watch.going),
        )
        if self.plan.decisions:
            self._report(
                seat,
                "decision",
                frame.taken,
                at=round(decision.time - (seat.first or 0.0), 3),
                label=decision.label,
                score=round(decision.probability, 4),
                top=[[name, round(prob, 4)] for name, prob in decision.top[:5]],
                latency_ms=round(1000 * seat.meter.latency, 1),
            )
        for event in events:
            self._happen(seat, event)

    def _happen(self, seat: Seat, event: Event) -> None:
        """Report an event, and keep its pictures."""
        name, start = seat.source.name, seat.first or 0.0
        now = seat.newest.time if seat.newest is not None else event.at
        begin = seat.began.setdefault(event.label, seat.taken - (now - event.begin))
        about: dict[str, Any] = {"label": event.label, "score": round(event.score, 4)}
        if event.kind == "start":
            about["at"] = round(event.begin - start, 3)
            self._report(seat, "start", begin, **about)
            if self._recorder is not None:
                self._recorder.begin(name, event.label, begin)
            return
        del seat.began[event.label]
        end = seat.taken - (now - event.at)
        about["at"] = round(event.at - start, 3)
        about |= {"began": iso(wall(begin)), "seconds": round(event.at - event.begin, 3)}
        about |= {"why": event.why} if event.why else {}
        self._report(seat, "end", end, **about)
        if self._recorder is not None:
            self._recorder.end(name, event.label, end)

    def _hear(self, seat: Seat, message: dict[str, Any]) -> None:
        """What has become of a source."""
        state = message.pop("state")
        if state in ("lost", "ended"):
            seat.meter.lost += state == "lost"
            self._cut(seat, f"the source {'was lost' if state == 'lost' else 'ended'}")
            seat.state, seat.since, seat.caption = self.live.start(), 0.0, None
        self._note(f"{seat.source.name}: {_words(state, message)}")
        if state != "connecting":
            self._report(seat, state, time.monotonic(), **message)

    def _cut(self, seat: Seat, why: str) -> None:
        at = seat.newest.time if seat.newest is not None else 0.0
        events, seat.watch = seat.watch.cut(at, why)
        for event in events:
            self._happen(seat, event)

    def _leave(self) -> None:
        """End what goes on when the watch ends."""
        for seat in self.seats:
            self._cut(seat, "the watch ended")

    def _warn_if_slow(self, seat: Seat) -> None:
        wanted = 1 / self.live.pace.period
        if not seat.warned and 0 < seat.meter.fps < _SLOW * wanted:
            seat.warned = True
            self._note(
                f"{seat.source.name}: {seat.meter.fps:.1f} frames/s, too few for a network trained "
                f"on {wanted:.1f}; raise the camera's rate"
            )

    def _report(self, seat: Seat, event: str, taken: float, **about: Any) -> None:
        head = {"event": event, "source": seat.source.name, "time": iso(wall(taken))}
        self._tell({**head, **about})


def _words(state: str, about: dict[str, Any]) -> str:
    """What has become of a source as text: the state, why, and the rest in brackets."""
    why = f": {about['why']}" if about.get("why") else ""
    rest = [f"{key} {value}" for key, value in about.items() if key != "why" and value is not None]
    return state + why + (f" ({', '.join(rest)})" if rest else "")
