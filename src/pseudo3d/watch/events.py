"""When a class counts as happening: a threshold to begin, a lower one to end, and patience."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pseudo3d.engine.live import Decision
from pseudo3d.errors import Pseudo3dError, unknown


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When one class is an event.

    A probability that swings around one threshold would give an event at every swing; between two
    thresholds it may swing.
    """

    label: str
    on: float = 0.6  # probability from which it begins
    off: float = 0.4  # probability below which it ends
    hold: float = 0.0  # s it stays at or above `on` before it counts
    release: float = 0.5  # s it stays below `off` before it is over
    cool: float = 0.0  # s after its end in which it does not begin again

    def __post_init__(self) -> None:
        if not 0 <= self.off <= self.on <= 1:
            raise Pseudo3dError(
                f"{self.label}: on is {self.on!r}, off {self.off!r}; wanted 0 <= off <= on <= 1"
            )
        for name in ("hold", "release", "cool"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise Pseudo3dError(f"{self.label}: {name} is {value!r}; wanted seconds, 0 or more")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A class begins to happen, or has ended."""

    kind: Literal["start", "end"]
    label: str
    begin: float  # s on the clock of the source, when it rose above `on`
    at: float  # s, the decision that tells it
    score: float  # probability in that decision; at the end, the highest one
    why: str | None = None  # the end: what else than the class ended it


@dataclass(frozen=True, kw_only=True)
class _Mood:
    """What a rule remembers."""

    since: float | None = None  # s, at or above `on` without a break
    begin: float | None = None  # s, of an event that goes on
    below: float | None = None  # s, below `off` without a break
    peak: float = 0.0
    over: float = -math.inf  # s, end of the event before


@dataclass(frozen=True)
class Watch:
    """The rules and what they remember of one source; `see` gives the next one."""

    rules: tuple[Rule, ...]
    moods: tuple[_Mood, ...] = ()

    def see(self, decision: Decision) -> tuple[list[Event], "Watch"]:
        """What a decision begins and ends."""
        probs, found, moods = dict(decision.top), list[Event](), list[_Mood]()
        for rule, mood in zip(self.rules, self._moods(), strict=True):
            event, mood = _step(rule, mood, probs[rule.label], decision.time)
            moods.append(mood)
            found += [event] if event else []
        return found, Watch(self.rules, tuple(moods))

    def cut(self, at: float, why: str) -> tuple[list[Event], "Watch"]:
        """End what goes on, because nothing more is seen."""
        found = [
            Event(kind="end", label=rule.label, begin=mood.begin, at=at, score=mood.peak, why=why)
            for rule, mood in zip(self.rules, self._moods(), strict=True)
            if mood.begin is not None
        ]
        return found, Watch(self.rules)

    @property
    def going(self) -> tuple[str, ...]:
        """What is happening."""
        pairs = zip(self.rules, self._moods(), strict=True)
        return tuple(rule.label for rule, mood in pairs if mood.begin is not None)

    def _moods(self) -> Sequence[_Mood]:
        return self.moods or [_Mood()] * len(self.rules)


def _step(rule: Rule, mood: _Mood, score: float, time: float) -> tuple[Event | None, _Mood]:
    """One decision under one rule."""
    if time < mood.over - 1:  # the clock of the source began anew
        mood = replace(mood, over=-math.inf)
    if mood.begin is None:
        since = None
        if score >= rule.on and time >= mood.over + rule.cool:
            since = time if mood.since is None else min(mood.since, time)
        if since is None or time - since < rule.hold - 1e-6:
            return None, replace(mood, since=since, peak=max(mood.peak, score) if since else 0.0)
        event = Event(kind="start", label=rule.label, begin=since, at=time, score=score)
        return event, _Mood(begin=since, peak=max(mood.peak, score))
    peak, below = max(mood.peak, score), None
    if score < rule.off:
        below = time if mood.below is None else min(mood.below, time)
    if below is None or time - below < rule.release - 1e-6:
        return None, replace(mood, below=below, peak=peak)
    event = Event(kind="end", label=rule.label, begin=mood.begin, at=below, score=peak)
    return event, _Mood(over=below)


def parse_rules(
    texts: Iterable[str], classes: Sequence[str], like: Rule, quiet: Iterable[str] = ()
) -> tuple[Rule, ...]:
    """Rules as a user writes them: `LABEL`, `LABEL:ON` or `LABEL:ON:OFF`; none: every class.

    Args:
        like: what is not written; an `off` above a written `on` is lowered with it.
        quiet: classes that are never an event, where none is named.
    Raises:
        Pseudo3dError: a class the network does not know, or thresholds that do not fit together.
    """
    for name in quiet:
        _check_known(name, classes)
    found: dict[str, Rule] = {}
    for text in texts:
        label, on, off = _split(text, classes)
        level = like.on if on is None else on
        low = min(like.off, level) if off is None else off
        found[label] = replace(like, label=label, on=level, off=low)
    if not found:
        kept = [name for name in classes if name not in set(quiet)]
        found = {name: replace(like, label=name) for name in kept}
    return tuple(found.values())


def _split(text: str, classes: Sequence[str]) -> tuple[str, float | None, float | None]:
    if text in classes:  # a name may hold colons
        return text, None, None
    label, *levels = text.rsplit(":", 2)
    if len(levels) == 2 and f"{label}:{levels[0]}" in classes:
        label, levels = f"{label}:{levels[0]}", levels[1:]
    _check_known(label, classes)
    try:
        values: list[float | None] = [float(level) for level in levels]
    except ValueError:
        raise Pseudo3dError(
            f"{text!r}: wanted LABEL, LABEL:ON or LABEL:ON:OFF with probabilities from 0 to 1"
        ) from None
    on, off = [*values, None, None][:2]
    return label, on, off


def _check_known(label: str, classes: Sequence[str]) -> None:
    if label not in classes:
        raise Pseudo3dError(unknown("class", label, classes))
