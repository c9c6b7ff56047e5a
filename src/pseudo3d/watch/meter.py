"""Figures of a source that runs for days: rates and latencies in memory that does not grow."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

_FIRST, _GROWTH, _BINS = 0.1, 1.05, 256  # ms of the first bin; each is 5 % wider than the last
_SMOOTH = 2.0  # s over which the rate is averaged


@dataclass
class Histogram:
    """Counts of durations in bins that are 5 % wide, so percentiles are right to 3 %."""

    counts: list[int] = field(default_factory=lambda: [0] * _BINS)
    total: int = 0

    def add(self, seconds: float) -> None:
        place = math.log(max(1000 * seconds, _FIRST) / _FIRST, _GROWTH)
        self.counts[min(int(place), _BINS - 1)] += 1
        self.total += 1

    def percentile(self, share: float) -> float:
        """Duration that `share` of all stay below, s; nan before there is one."""
        left = share * self.total
        for place, count in enumerate(self.counts):
            left -= count
            if left <= 0 and self.total:
                return _FIRST * _GROWTH ** (place + 0.5) / 1000
        return math.nan


@dataclass
class Meter:
    """What a source has shown and how late it was seen."""

    shown: int = 0  # frames the source has shown
    seen: int = 0  # of them, looked at
    decisions: int = 0
    latency: float = math.nan  # s, of the newest decision, from the frame's arrival
    latencies: Histogram = field(default_factory=Histogram)
    fps: float = 0.0  # Hz, frames shown, over the last seconds
    lost: int = 0  # times the source was lost
    _mark: tuple[float, int] = (0.0, 0)

    @property
    def dropped(self) -> int:
        """Frames shown that a newer one replaced before they could be looked at."""
        return self.shown - self.seen

    def frame(self, number: int) -> None:
        """Frame `number` of the source is looked at."""
        self.shown, self.seen = number, self.seen + 1
        now, (since, before) = time.monotonic(), self._mark
        if now - since >= _SMOOTH:
            self.fps = (number - before) / (now - since) if since else 0.0
            self._mark = (now, number)

    def decision(self, taken: float) -> None:
        """A decision is there whose newest frame came at `taken`, s on the monotonic clock."""
        self.latency = time.monotonic() - taken
        self.latencies.add(self.latency)
        self.decisions += 1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""

        def ms(share: float) -> float | None:
            value = self.latencies.percentile(share)
            return None if math.isnan(value) else round(1000 * value, 1)

        return {
            "frames": self.shown,
            "dropped": self.dropped,
            "fps": round(self.fps, 1),
            "decisions": self.decisions,
            "latency_p50_ms": ms(0.5),
            "latency_p99_ms": ms(0.99),
            "lost": self.lost,
        }
