"""How a map of what a network looked at is made, and what it says."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from pseudo3d.errors import unknown
from pseudo3d.explain.faithfulness import Faithfulness
from pseudo3d.explain.occlusion import Baseline
from pseudo3d.explain.places import Sizes

Method = Literal["gradcam", "integrated", "occlusion", "random"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True)
class How:
    """How a map is made and tested.

    Args:
        layer: where `gradcam` reads; None takes the deepest layer that tells moments apart.
        baseline: what a clip with nothing in it is: of the mean color, blurred, or the mean frame
            standing still, which asks for the movement alone.
        steps: of `integrated`, doubled twice where they do not add up.
        cells: of the clip along (time, height, width), for `occlusion` and the test.
        check: test the map by deletion and insertion, some 400 passes.
        controls: copies of the map put elsewhere that it must beat.
        seed: every random draw follows from it.
    """

    layer: str | None = None
    baseline: Baseline = "mean"
    steps: int = 24
    cells: Sizes = (8, 6, 6)
    check: bool = False
    controls: int = 19
    seed: int = 0

    def __post_init__(self) -> None:
        if self.baseline not in get_args(Baseline):
            raise TypeError(unknown("baseline", str(self.baseline), get_args(Baseline)))
        if min(self.steps, self.controls, *self.cells) < 1 or len(self.cells) != 3:
            raise ValueError(
                f"steps {self.steps}, controls {self.controls}, cells {self.cells}; wanted 1 or "
                "more, and three numbers of cells (time, height, width)"
            )


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Where and when a clip speaks for one class, on the grid of the network's input."""

    heat: Float[np.ndarray, "t h w"]  # 0 to 1, one scale for all frames
    importance: Float[np.ndarray, " t"]  # share of the heat in each frame; adds up to 1
    times: Float[np.ndarray, " t"]  # s from the first frame; frame numbers of a bare clip
    target: str
    method: Method
    answer: float  # the probability of the target for this clip, or the number measured
    evidence: Float[np.ndarray, "t h w"]  # signed, in log-odds; negative speaks against the target
    places: Sizes  # of (time, height, width) that can differ; the rest is in between
    layer: str | None = None  # that gradcam was read from
    completeness: float | None = None  # integrated: share of the score that the sum misses
    faithfulness: Faithfulness | None = None
    notes: tuple[str, ...] = ()  # what a reader should know
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # top, left, bottom, right of it
    span: tuple[float, float] | None = None  # s of the video that was looked at

    @property
    def deletion(self) -> float | None:
        """Mean answer while the hottest cells go first; low is good."""
        return None if self.faithfulness is None else self.faithfulness.deletion

    @property
    def insertion(self) -> float | None:
        """Mean answer while the hottest cells come first; high is good."""
        return None if self.faithfulness is None else self.faithfulness.insertion

    @property
    def verdict(self) -> str:
        """Whether the map can be believed, in words."""
        if self.faithfulness is None:
            return "the map was not tested"
        return self.faithfulness.sentence

    def framed(self, rows: int, columns: int) -> Float[np.ndarray, "t rows columns"]:
        """The heat on the whole frame of the video; 0 where the network did not look."""
        top, left, bottom, right = self.box
        down, across = (
            (torch.arange(n) + 0.5) / n for n in (rows, columns)
        )  # centers, parts of a side
        y = 2 * (down - top) / (bottom - top) - 1
        x = 2 * (across - left) / (right - left) - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        heat = torch.from_numpy(self.heat)[:, None]
        seen = torch.nn.functional.grid_sample(
            heat,
            grid.expand(len(heat), -1, -1, -1).to(heat.dtype),
            padding_mode="border",
            align_corners=False,
        )[:, 0]
        inside = (grid.abs() <= 1).all(-1)
        return np.asarray((seen * inside).clamp(0, 1).numpy())

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the heat itself is left out."""
        return {
            "target": self.target,
            "method": self.method,
            "answer": round(self.answer, 6),
            "verdict": self.verdict,
            "times": [round(float(t), 4) for t in self.times],
            "importance": [round(float(v), 6) for v in self.importance],
            "span": None if self.span is None else [round(t, 4) for t in self.span],
            "places": list(self.places),
            "layer": self.layer,
            "completeness": None if self.completeness is None else round(self.completeness, 5),
            "test": None if self.faithfulness is None else self.faithfulness.to_dict(),
            "notes": list(self.notes),
        }
