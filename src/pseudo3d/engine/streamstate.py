"""What a stream has kept: an immutable value that can be saved, forked, stacked and taken apart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.recycle.files import METADATA_KEY, read_file, write_file
from pseudo3d.recycle.seal import sealed
from pseudo3d.runtime.streaming.rope import Rope, entire, length
from pseudo3d.runtime.views import dense

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamState:
    """Where streams are; made by `Stream.start` and `Stream.step`, never changed.

    Keep one and go on from it twice: that is a fork. Begin with `Stream.start`: that is a reset.
    """

    owner: str  # which network, in which precision
    seen: tuple[int, ...]  # frames of each stream
    counted: tuple[int, ...]  # features of each that have come out
    size: tuple[int, int] | None  # of the frames, (height, width)
    pooled: Tensor  # features: their sum (N, F, 1), or the latest (N, F, T)
    kept: tuple[Rope, ...]  # what the layers still need
    period: int | None  # frames after which every layer has stepped; None in older files

    @property
    def frames(self) -> int:
        """Frames seen; of streams stacked later, those of the longest one."""
        return max(self.seen)

    @property
    def streams(self) -> int:
        """How many streams are stepped together."""
        return len(self.seen)

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        held = {
            t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in self._tensors()
        }
        return sum(held.values())

    def _tensors(self) -> list[Tensor]:
        return [self.pooled, *(t for rope in self.kept for t in rope)]

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file; another process, or another day, goes on from there.

        Raises:
            WeightsError: the disk refuses it.
        """
        tensors = {"pooled": self.pooled.contiguous()}
        for i, rope in enumerate(self.kept):
            if (whole := entire(rope)) is not None:
                tensors[f"kept.{i}"] = whole.contiguous()
        about = {
            "stream": _FORMAT,
            "owner": self.owner,
            "seen": self.seen,
            "counted": self.counted,
            "size": self.size,
            "keeps": len(self.kept),
            "period": self.period,
        }
        write_file(Path(path), sealed(tensors, {METADATA_KEY: json.dumps(about)}))

    @classmethod
    def load(cls, path: str | Path) -> "StreamState":
        """Read what `save` wrote.

        Raises:
            WeightsError: missing, damaged, or no state of a stream.
        """
        tensors, text = read_file(Path(path))
        try:
            about: dict[str, Any] = json.loads(text or "{}")
            if about.get("stream") != _FORMAT:
                raise WeightsError(
                    f"{path}: no state of a stream that this version knows; wanted a file of "
                    "StreamState.save"
                )
            kept = [tensors.get(f"kept.{i}") for i in range(about["keeps"])]
            return cls(
                owner=about["owner"],
                seen=tuple(about["seen"]),
                counted=tuple(about["counted"]),
                size=tuple(about["size"]) if about["size"] else None,
                pooled=tensors["pooled"],
                kept=tuple(() if t is None else (dense(t),) for t in kept),
                period=about.get("period"),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as err:
            raise WeightsError(f"{path}: damaged ({err}); save the stream again") from err

    @staticmethod
    def stack(states: Sequence["StreamState"]) -> "StreamState":
        """Streams of one phase side by side, so that one step serves them all.

        Raises:
            Pseudo3dError: other networks, frame sizes or phases.
        """
        if not states:
            raise Pseudo3dError("no states to stack; give at least one")
        first = states[0]
        for state in states[1:]:
            sizes = {state.size, first.size} - {None}
            if state.owner != first.owner or len(sizes) > 1:
                raise Pseudo3dError(
                    f"{state.owner!r} with frames {state.size} does not stack with {first.owner!r} "
                    f"with frames {first.size}; wanted one network and one size"
                )
            if _form(state) != _form(first):
                raise Pseudo3dError(
                    f"streams of {first.frames} and {state.frames} frames are not in one phase, so "
                    "their layers step at different moments; stack them when both have seen a "
                    "multiple of Stream.period, or step them apart"
                )
        return StreamState(
            owner=first.owner,
            seen=tuple(n for state in states for n in state.seen),
            counted=tuple(n for state in states for n in state.counted),
            size=first.size,
            pooled=torch.cat([state.pooled for state in states]),
            kept=tuple(_stacked(own) for own in zip(*(s.kept for s in states), strict=True)),
            period=first.period,
        )

    def split(self) -> list["StreamState"]:
        """Each stream by itself."""
        return [
            StreamState(
                owner=self.owner,
                seen=(self.seen[i],),
                counted=(self.counted[i],),
                size=self.size,
                pooled=self.pooled[i : i + 1].clone(),
                kept=tuple(tuple(_one(t, i) for t in rope) for rope in self.kept),
                period=self.period,
            )
            for i in range(self.streams)
        ]


def _one(x: Tensor, i: int) -> Tensor:
    """One stream's frames, in memory of their own."""
    return dense(x[i : i + 1]).clone()


def _stacked(own: tuple[Rope, ...]) -> Rope:
    tensors = [t for t in map(entire, own) if t is not None]
    return (dense(torch.cat(tensors)),) if tensors else ()


def _form(state: StreamState) -> tuple[Any, ...]:
    """What must agree: the beginning, the phase, the features kept, what each layer waits with."""
    seen = state.seen[0]
    phase = seen if state.period is None else seen % state.period  # some layers keep nothing
    kept = tuple((length(rope), *(tuple(t.shape[1:2]) for t in rope[:1])) for rope in state.kept)
    return seen == 0, phase, state.pooled.shape[1:], kept
