"""A comparison as lines of text and as a bar chart."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch

from pseudo3d.bench.inference import Result, Row
from pseudo3d.bench.limits import Limit, Precision
from pseudo3d.report.files import save_figure

_COLORS: dict[Precision, str] = {"fp32": "#0072B2", "bf16": "#E69F00", "int8": "#009E73"}
_INK, _PALE = "#222222", "#E4E4E4"
HEADER = (
    "variant",
    "median ms",
    "quartiles",
    "CPU ms",
    "clips/s",
    "speed-up",
    "GFLOP/s",
    "of limit",
    "rel. error",
)


def table(lines: Sequence[Sequence[str]], aligned: bool) -> str:
    """Columns side by side for a reader, or tab-separated for a program; first column to the left.

    The last line may be shorter: its last entry is not counted for the widths.
    """
    if not aligned:
        return "\n".join("\t".join(line) for line in lines)
    full = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(len(line[i]) for line in full) for i in range(len(lines[0]))]
    widths[0] = max(len(line[0]) for line in lines)
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=False)),
            ]
        ).rstrip()
        for line in lines
    )


def limit_lines(limits: Sequence[Limit]) -> list[tuple[str, ...]]:
    """The machine's limits as a table."""
    head = ("limit", "threads", "matrix product GFLOP/s", "convolution GFLOP/s")
    return [head, *((v.precision, f"{v.threads}", _(v.product), _(v.convolution)) for v in limits)]


def _(rate: float | None) -> str:
    return "cannot run" if rate is None else f"{rate:.0f}"


def row_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The ways as a table; a skipped one says why."""
    return [HEADER, *map(_row, rows)]


def _row(row: Row) -> tuple[str, ...]:
    if row.figures is None:
        return row.title, f"skipped: {row.skipped}"
    f = row.figures
    s = f.timing.seconds
    return (
        row.title,
        f"{1e3 * s.median:.1f}",
        f"{1e3 * s.low:.1f}-{1e3 * s.high:.1f}",
        f"{1e3 * f.timing.cpu_seconds.median:.1f}",
        f"{row.clips / s.median:.2f}",
        f"{f.speedup.median:.2f}x",
        f"{f.gflops:.0f}",
        "" if f.share is None else f"{f.share:.0%}",
        "" if not row.error else f"{row.error:.1e}",
    )


def chart_png(result: Result, path: str | Path, note: str = "") -> Path:
    """Draw how many times faster than plain PyTorch each way is; behind it, the machine's limit.

    Args:
        note: a line below, for example, the machine.
    Raises:
        ValueError: nothing was timed.
        Pseudo3dError: the file cannot be written.
    """
    rows = [row for row in result.rows if row.figures is not None]
    found = [row.figures for row in rows if row.figures is not None]
    if not rows:
        raise ValueError("no way was timed; nothing to draw")
    figure = Figure(figsize=(9.6, 1.8 + 0.4 * len(rows)), layout="constrained")
    axes, side = figure.subplots(1, 2, sharey=True, width_ratios=(3.1, 1))
    slowest = result.gflop / found[0].gflops
    ceilings = [slowest / (result.gflop / f.limit) if f.limit else 0.0 for f in found]
    axes.barh(range(len(rows)), ceilings, 0.74, color=_PALE)
    speeds = [f.speedup.median for f in found]
    colors = [_COLORS[row.precision] for row in rows]
    axes.barh(range(len(rows)), speeds, 0.46, color=colors)
    widest = max(*speeds, *ceilings)
    _column(side, 0.3, "speed-up", [f"{speed:.2f}x" for speed in speeds])
    _column(side, 0.62, "ms", [f"{1e3 * f.timing.seconds.median:.3g}" for f in found])
    _column(side, 0.98, "of limit", ["" if f.share is None else f"{f.share:.0%}" for f in found])
    axes.set_yticks(range(len(rows)), [row.title for row in rows], fontsize=9.5, color=_INK)
    axes.set(xlim=(0, 1.02 * widest), ylim=(len(rows) - 0.45, -0.95))
    side.set_xlim(0, 1)
    side.set_axis_off()
    axes.set_xlabel(f"times as fast as {rows[0].title}", fontsize=9.5, color=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(colors=_INK, labelsize=9.5)
    _legend(figure, rows, note)
    n, _c, t, h, w = result.shape
    threads = f"{result.threads} thread" + ("s" if result.threads > 1 else "")
    clips = f"{n} clip" + ("s" if n > 1 else "")
    figure.suptitle(
        f"{result.model}, {clips} of {t} x {h} x {w}, {threads}", fontsize=12, color=_INK
    )
    return save_figure(figure, path)


def _column(axes: Axes, x: float, head: str, texts: Sequence[str]) -> None:
    """Numbers beside the bars, one for each, that end at `x`."""
    axes.text(x, -0.72, head, fontsize=8.5, style="italic", ha="right", va="center", color=_INK)
    for y, text in enumerate(texts):
        axes.text(x, y, text, fontsize=9.5, ha="right", va="center", color=_INK)


def _legend(figure: Figure, rows: Sequence[Row], note: str) -> None:
    used = dict.fromkeys(row.precision for row in rows)
    handles = [Patch(color=_COLORS[p], label=p) for p in used]
    handles.append(Patch(color=_PALE, label="limit: this machine's fastest convolution"))
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9
    )
    if note:  # above the colors, so that neither covers the other
        legend.set_title(note, prop=FontProperties(size=7.5))
        legend.get_title().set_color("#666666")
