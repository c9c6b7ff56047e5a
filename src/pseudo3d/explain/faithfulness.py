"""Is a map right? Take away what it points at, and put it back, beside the same map put elsewhere.

Deletion and insertion (Petsiuk, Das, Saenko, BMVC 2018, "RISE"): cells of space and time go, or
come, in the order of their heat, and the network's answer is followed. How good a curve is depends
on the clip more than on the map, so the control is the map itself, moved in space and time and
mirrored: as large and as smooth, but in the wrong place. Single random cells would be no control:
holes all over a clip destroy it faster than any map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.explain.asking import Question
from pseudo3d.explain.occlusion import cell_numbers
from pseudo3d.explain.places import Sizes

SURE = 0.05  # share of the controls that may be as good as a map that is believed
_TENDS = 0.25
_MATTERS = 0.1  # of a probability: where emptying the clip changes less, no order of cells matters


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What happens to the answer when cells go and come in the order of a map's heat.

    `deletion` and `insertion` are the mean answers on the way (areas under the curves): low and
    high are good. `gap` is their difference, counted toward the whole clip's answer.
    """

    shares: tuple[float, ...]  # of the clip, 0 to 1, that is gone or there
    deleted: tuple[float, ...]  # the answer then
    inserted: tuple[float, ...]
    deletion: float
    insertion: float
    control_gaps: tuple[float, ...]  # of the same map put elsewhere

    @property
    def whole(self) -> float:
        """The answer to the clip."""
        return self.deleted[0]

    @property
    def empty(self) -> float:
        """The answer to the clip with nothing in it."""
        return self.deleted[-1]

    @property
    def gap(self) -> float:
        """Insertion minus deletion."""
        return self._toward(self.insertion - self.deletion)

    @property
    def rank(self) -> float:
        """Share of the controls, the map among them, that are as good as the map."""
        better = sum(gap >= self.gap - 1e-9 for gap in self.control_gaps)
        return (1 + better) / (1 + len(self.control_gaps))

    @property
    def verdict(self) -> str:
        """faithful, unsure, random, or undecided where nothing can be told."""
        if abs(self.whole - self.empty) < _MATTERS:
            return "undecided"
        if self.rank <= max(SURE, 1 / (1 + len(self.control_gaps))):
            return "faithful"
        return "unsure" if self.rank <= _TENDS else "random"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        tried = len(self.control_gaps)
        worse = sum(gap < self.gap - 1e-9 for gap in self.control_gaps)
        if self.verdict == "undecided":
            return (
                f"the map cannot be judged: the network answers {self.whole:.2f} to the clip and "
                f"{self.empty:.2f} to one with nothing in it"
            )
        beside = f"it beats {worse} of {tried} copies of itself put elsewhere"
        told = {
            "faithful": "the map shows what the answer rests on",
            "unsure": "the map may show what the answer rests on, but is not sure to",
            "random": "the map is no better than random",
        }
        return f"{told[self.verdict]}: {beside}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "deletion": round(self.deletion, 5),
            "insertion": round(self.insertion, 5),
            "gap": round(self.gap, 5),
            "control_gaps": [round(gap, 5) for gap in self.control_gaps],
            "shares": [round(share, 4) for share in self.shares],
            "deleted": [round(value, 5) for value in self.deleted],
            "inserted": [round(value, 5) for value in self.inserted],
        }

    def _toward(self, gap: float) -> float:
        return gap if self.whole >= self.empty else -gap


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a map is put to the test."""

    cells: Sizes  # along time, height and width
    controls: int
    steps: int = 10
    seed: int = 0


def check_map(
    question: Question,
    clip: Float[Tensor, "c t h w"],
    empty: Float[Tensor, "c t h w"],
    heat: Float[Tensor, "t h w"],
    trial: Trial,
) -> Faithfulness:
    """Follow the answer while cells go and come in the order of their heat."""
    size = (clip.shape[1], clip.shape[2], clip.shape[3])
    numbers = cell_numbers(size, trial.cells)
    counts = torch.bincount(numbers.flatten())
    means = torch.bincount(numbers.flatten(), heat.flatten().double()) / counts
    grid = means.view([min(n, c) for n, c in zip(size, trial.cells, strict=True)])
    orders = [_order(grid), *(_order(g) for g in _elsewhere(grid, trial))]
    taken = _taken(len(means), trial.steps)

    def clips() -> Iterator[Tensor]:
        yield clip
        yield empty
        for order in orders:
            for count in taken:
                chosen = torch.zeros(len(means), dtype=torch.bool)
                chosen[order[:count]] = True
                inside = chosen[numbers]
                yield torch.where(inside, empty, clip)
                yield torch.where(inside, clip, empty)

    answers = question.answer(question.scores(clips())).double()
    curves = answers[2:].view(len(orders), len(taken), 2)
    shares = (0.0, *(count / len(means) for count in taken), 1.0)
    return _found(answers[:2].tolist(), curves, shares)


def _found(
    ends: list[float], curves: Float[Tensor, "ways steps 2"], shares: tuple[float, ...]
) -> Faithfulness:
    """Areas under the curves of the map, the first one, and of the controls."""
    whole, nothing = ends
    ways = []
    for curve in curves:
        deleted = (whole, *curve[:, 0].tolist(), nothing)
        inserted = (nothing, *curve[:, 1].tolist(), whole)
        ways.append((deleted, inserted, _area(shares, deleted), _area(shares, inserted)))
    sign = 1 if whole >= nothing else -1
    deleted, inserted, deletion, insertion = ways[0]
    return Faithfulness(
        shares=shares,
        deleted=deleted,
        inserted=inserted,
        deletion=deletion,
        insertion=insertion,
        control_gaps=tuple(sign * (gain - loss) for _, _, loss, gain in ways[1:]),
    )


def _taken(cells: int, steps: int) -> list[int]:
    """How many cells are gone after each step: few at first, where a good map tells most."""
    shares = torch.linspace(0, 1, steps + 1)[1:-1] ** 1.5
    return sorted({min(cells - 1, max(1, round(float(s) * cells))) for s in shares})


def _order(grid: Tensor) -> Tensor:
    """Cells from the hottest to the coldest; equal ones as they lie."""
    return grid.flatten().argsort(descending=True, stable=True)


def _elsewhere(grid: Float[Tensor, "t h w"], trial: Trial) -> Iterator[Tensor]:
    """The same map at other places: moved around the ends of every axis, and mirrored."""
    rng = torch.Generator().manual_seed(trial.seed)
    for _ in range(trial.controls):
        axes = [a for a in range(3) if bool(torch.rand((), generator=rng) < 0.5)]
        moves = [int(torch.randint(n, (), generator=rng)) for n in grid.shape]
        if not axes and not any(moves) and grid.numel() > 1:
            moves[max(range(3), key=lambda a: grid.shape[a])] = 1  # else it is the map itself
        yield grid.flip(axes).roll(moves, (0, 1, 2))


def _area(shares: Sequence[float], values: Sequence[float]) -> float:
    return float(torch.trapezoid(torch.tensor(values), torch.tensor(shares)))
