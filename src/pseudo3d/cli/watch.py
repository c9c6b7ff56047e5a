"""`p3d watch`: cameras, streams and files at their own speed; labels and events as they happen."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Threads, note, say, use_threads
from pseudo3d.cli.running import Precision, Runtime, Runtimes, Weights
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.watch.meter import Meter
    from pseudo3d.watch.overlay import Caption
    from pseudo3d.watch.slot import Frame
    from pseudo3d.watch.sources import Source

_OFTEN, _SELDOM = 0.25, 600.0  # s between two lines of state: on a terminal, elsewhere
_CLEAR = "\r\x1b[K"

Tell = Callable[[dict[str, Any]], None]


class Modes(StrEnum):
    """How a network looks at a stream."""

    auto = "auto"
    stream = "stream"
    window = "window"


def watch(
    weights: Weights,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Cameras (0, 1, ...), rtsp:// or http:// streams, files; NAME=SOURCE names one."
        ),
    ],
    event: Annotated[
        list[str] | None,
        typer.Option(help="Class that is an event: LABEL, LABEL:ON or LABEL:ON:OFF; repeatable."),
    ] = None,
    quiet: Annotated[
        list[str] | None, typer.Option(help="Class that is none, where no --event is named.")
    ] = None,
    on: Annotated[float, typer.Option(help="Probability from which an event begins.")] = 0.6,
    off: Annotated[float, typer.Option(help="Probability below which it ends.")] = 0.4,
    hold: Annotated[float, typer.Option(help="Seconds it must last to count.")] = 0.0,
    release: Annotated[float, typer.Option(help="Seconds below --off until it is over.")] = 0.5,
    cool: Annotated[float, typer.Option(help="Seconds until the same may begin again.")] = 0.0,
    events: Annotated[
        Path | None, typer.Option(help="Append reports to a file, JSON lines.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="POST every report to this address.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Folder for a clip of every event.")] = None,
    before: Annotated[float, typer.Option(min=0, help="Seconds of a clip before the event.")] = 3.0,
    after: Annotated[float, typer.Option(min=0, help="Seconds of a clip after it.")] = 2.0,
    longest: Annotated[float, typer.Option(min=1, help="Most seconds of a clip.")] = 60.0,
    record: Annotated[
        Path | None, typer.Option(help="Folder for annotated recordings of everything.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of one recorded file.")] = 10.0,
    keep: Annotated[
        str | None, typer.Option(help="Room for recordings, as 20GB; the oldest ones go.")
    ] = None,
    show: Annotated[bool, typer.Option(help="Show a window; needs a display.")] = False,
    loop: Annotated[bool, typer.Option(help="Files: again and again.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
    every: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds between decisions; default: four in a window or more."),
    ] = None,
    mode: Annotated[
        Modes, typer.Option(help="stream: each frame once (causal networks); window: again.")
    ] = Modes.auto,
    decisions: Annotated[
        bool, typer.Option(help="Report every decision, not only events.")
    ] = False,
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.")] = False,
) -> None:
    """Watch cameras and streams; print events as they happen. Ctrl-C ends it, files complete.

    The newest frame is looked at first: where the network is slower than the camera, frames are
    left out and nothing queues up. A source that is lost is sought again until it is back. The exit
    code is 1 where no source gave a frame.
    """
    use_threads(threads)
    from pseudo3d.cli.common import memory_bytes
    from pseudo3d.engine.live import Live
    from pseudo3d.watch.events import Rule, parse_rules
    from pseudo3d.watch.recorder import Keeping
    from pseudo3d.watch.screen import Screen
    from pseudo3d.watch.sources import parse_sources
    from pseudo3d.watch.watcher import Audience, Plan, Watcher

    found = parse_sources(sources, loop=loop)
    room = memory_bytes(keep)
    like = Rule(label="--on, --off", on=on, off=off, hold=hold, release=release, cool=cool)
    live = Live.open(
        weights,
        runtime=runtime.value,
        precision=precision.value if precision is not None else None,
        threads=threads,
        mode=mode.value,
        every=every,
    )
    keeping = Keeping(
        clips=clips, before=before, after=after, longest=longest, recording=record,
        minutes=minutes, keep=room,
    )  # fmt: skip
    rules = parse_rules(event or (), live.classes, like, quiet or ())
    plan = Plan(rules=rules, keeping=keeping, decisions=decisions)
    with ExitStack() as closing:
        state = _State(len(found))
        audience: list[Audience] = [state]
        if show:
            screen = Screen()
            closing.callback(screen.close)
            audience.append(screen)
        printed, others = _Printed(state, json=json), _others(closing, state, events, webhook)

        def tell(report: dict[str, Any]) -> None:
            printed(report)
            for other in others:
                other(report)

        watcher = Watcher(live, plan, tell, state.note, audience)
        printed.stop = watcher.stop
        if show:
            screen.stop = watcher.stop
        with _stopped_by_signals(watcher.stop):
            meters = watcher.run(found, seconds)
    _conclude(state, found, meters)


class _State:
    """What is going on, on stderr: one line that changes on a terminal, now and then elsewhere."""

    def __init__(self, sources: int) -> None:
        self.sources, self.lines = sources, dict[str, str]()
        self.terminal = sys.stderr.isatty()
        self.spoke = time.monotonic()
        self._lock = threading.RLock()

    def note(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            note(f"{_CLEAR if self.terminal else ''}{text}")

    def __call__(
        self, source: "Source", frame: "Frame", caption: "Caption | None", decision: object
    ) -> None:
        if caption is None:
            return
        name = f"{source.name}: " if self.sources > 1 else ""
        alarm = "● " if caption.alarm else ""
        self.lines[source.name] = f"{name}{alarm}{caption.label} {caption.share:.0%}"
        self.lines[source.name] += f"  {caption.aside}"
        now = time.monotonic()
        if now - self.spoke < (_OFTEN if self.terminal else _SELDOM):
            return
        self.spoke, text = now, " | ".join(self.lines.values())
        with self._lock:
            if self.terminal:
                width = shutil.get_terminal_size().columns
                sys.stderr.write(_CLEAR + text[: width - 1])
                sys.stderr.flush()
            else:
                note(text)


class _Printed:
    """Reports on stdout, each at once; a reader that has gone ends the watch."""

    def __init__(self, state: _State, *, json: bool) -> None:
        self.state, self.json, self.stop = state, json, threading.Event()
        self.gone = False  # the reader
        self._lock = threading.Lock()

    def __call__(self, report: dict[str, Any]) -> None:
        from pseudo3d.watch.reports import line

        told = report["event"] in _TOLD
        if not (self.json or told) or self.gone:
            return
        if self.state.terminal and sys.stdout.isatty():
            sys.stderr.write(_CLEAR)
        try:
            with self._lock:
                say(line(report) if self.json else _words(report))
                sys.stdout.flush()
        except BrokenPipeError:
            self.gone = True
            self.stop.set()
            with open(os.devnull, "w") as nothing:  # noqa: PTH123 (a device, no path)
                os.dup2(nothing.fileno(), sys.stdout.fileno())


_TOLD = ("start", "end", "clip", "decision")


def _words(report: dict[str, Any]) -> str:
    """A report as text: time, source, event, label, and what belongs to it."""
    from pseudo3d.watch.sources import printable

    last = report.get("path") or f"{report.get('score', 0):.1%}"
    head = [report[key] for key in ("time", "source", "event", "label")]
    return printable("\t".join([*head, last]))


def _conclude(state: _State, sources: Sequence["Source"], meters: Sequence["Meter"]) -> None:
    """Tell the figures of every source.

    Raises:
        Pseudo3dError: there was nothing to watch.
    """
    for source, meter in zip(sources, meters, strict=True):
        state.note(f"{source.name}: {_figures(meter)}")
    if not any(meter.shown for meter in meters):
        names = ", ".join(source.name for source in sources)
        raise Pseudo3dError(
            f"no frame came from {names}, so nothing was watched; wanted a video, camera or stream "
            "that plays: mend what is said above, or give another source"
        )


def _figures(meter: "Meter") -> str:
    found = meter.to_dict()
    if not found["decisions"]:
        return f"{found['frames']} frames, no decision"
    return (
        f"{found['frames']} frames, {found['dropped']} left out, {found['decisions']} decisions; "
        f"latency {found['latency_p50_ms']} ms (median), {found['latency_p99_ms']} ms (99 %)"
    )


def _others(
    closing: ExitStack, state: _State, events: Path | None, webhook: str | None
) -> list[Tell]:
    """Where reports go besides stdout."""
    from pseudo3d.watch.reports import Lines, Webhook

    found: list[Tell] = []
    if events is not None:
        lines = Lines(events, state.note)
        closing.callback(lines.close)
        found.append(lines)
    if webhook is not None:
        found.append(closing.enter_context(Webhook(webhook, state.note)))
    return found


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C, or a request to terminate, ends the watch in good order."""

    def end(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(watch)
