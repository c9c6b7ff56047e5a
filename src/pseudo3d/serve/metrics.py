"""Counts and times of a service as Prometheus reads them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # s
Labels = tuple[tuple[str, str], ...]


@dataclass
class Histogram:
    """How often something took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> Iterable[str]:
        """As text."""
        so_far = 0
        comma = "," if labels else ""
        for bound, count in zip((*_BOUNDS, "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound}"}} {so_far}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {so_far}"


class Metrics:
    """What has been done so far."""

    def __init__(self) -> None:
        self.requests: Counter[Labels] = Counter()
        self.seconds: dict[str, Histogram] = {}
        self.problems: Counter[str] = Counter()
        self.frames = self.dropped = self.gone = 0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Note an answered request."""
        self.requests[(("path", path), ("status", str(status)))] += 1
        self.seconds.setdefault(path, Histogram()).add(seconds)

    def text(self, now: Mapping[str, tuple[str, str, float]]) -> str:
        """Everything, with what the service says of itself now: name -> (type, help, value)."""
        lines = _head("requests_total", "counter", "Requests answered, by path and status.")
        for labels, count in sorted(self.requests.items()):
            told = ",".join(f'{key}="{value}"' for key, value in labels)
            lines.append(f"p3d_requests_total{{{told}}} {count}")
        lines += _head("request_seconds", "histogram", "From the first byte to the answer.")
        for path, histogram in sorted(self.seconds.items()):
            lines += histogram.lines("p3d_request_seconds", f'path="{path}"')
        lines += _head("problems_total", "counter", "Requests answered with an error, by code.")
        for code, count in sorted(self.problems.items()):
            lines.append(f'p3d_problems_total{{code="{code}"}} {count}')
        own = {
            "clients_gone_total": ("counter", "Clients that left early.", float(self.gone)),
            "stream_frames_total": ("counter", "Camera frames looked at.", float(self.frames)),
            "stream_dropped_total": (
                "counter", "Camera frames that a newer one replaced.", float(self.dropped)
            ),
            "resident_bytes": ("gauge", "Memory of the service's process.", float(resident())),
        }  # fmt: skip
        for name, (kind, about, value) in {**own, **now}.items():
            lines += [*_head(name, kind, about), f"p3d_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP p3d_{name} {about}", f"# TYPE p3d_{name} {kind}"]


def resident(pid: int | str = "self") -> int:
    """Bytes of memory a process holds; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * 4096
