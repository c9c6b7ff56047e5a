"""A whole video instead of one window of it: windows side by side on one scale."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pseudo3d.engine.predict import Prediction, predict
from pseudo3d.explain.asking import Asked, opened
from pseudo3d.explain.attribution import explain_span, named, shares
from pseudo3d.explain.saliency import Attribution, How, Method

MOST = 64  # windows explained; more are thinned out evenly
Progress = Callable[[int, int], None]


def joined(parts: Sequence[Attribution]) -> Attribution:
    """Several windows of one video, on the scale of the one with the strongest evidence.

    Every map for itself goes up to 1, also where next to nothing speaks for the target. Answer and
    verdict are those of the window that is surest.
    """
    peaks = np.array([max(float(part.evidence.max()), 0.0) for part in parts])
    scale = peaks / max(float(peaks.max()), 1e-12)
    surest = max(parts, key=lambda part: part.answer)
    times = np.concatenate([part.times for part in parts])
    order = np.argsort(times, kind="stable")
    heat = np.concatenate([p.heat * np.float32(s) for p, s in zip(parts, scale, strict=True)])
    share = shares(torch.from_numpy(heat.mean((1, 2), dtype=np.float64))).numpy()
    spans = [part.span for part in parts if part.span is not None]
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    tested = [part.faithfulness for part in parts if part.faithfulness is not None]
    if tested:
        right = sum(one.verdict == "faithful" for one in tested)
        notes[f"{right} of {len(tested)} windows have a map that holds; the verdict is that of "
              "the surest"] = None  # fmt: skip
    return replace(
        surest,
        heat=heat[order],
        importance=share[order],
        times=times[order],
        evidence=np.concatenate([part.evidence for part in parts])[order],
        notes=tuple(notes),
        span=(min(s for s, _ in spans), max(e for _, e in spans)) if spans else None,
    )


def explain_whole(
    model: Asked,
    path: str | Path,
    *,
    target: int | str | None = None,
    method: Method = "gradcam",
    how: How | None = None,
    progress: Progress | None = None,
) -> tuple[Prediction, Attribution]:
    """Recognize a video and show what speaks for a class in all of it, window after window.

    Args:
        target: None takes the label of the video.
        progress: called with (windows done, windows in all).
    Raises:
        VideoError: the video cannot be read.
        Pseudo3dError: as `explain`.
    """
    run = opened(model)
    seen = predict(run, path)  # type: ignore[arg-type]  # a network that takes videos has a card
    name = seen.label if target is None else named(target, seen.classes)
    chosen = _apart(seen)
    kept = [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(MOST, len(chosen))).astype(int)]
    parts = []
    for done, number in enumerate(kept, start=1):
        span = (float(seen.starts[number]), float(seen.ends[number]))
        parts.append(explain_span(run, path, span, target=name, method=method, how=how))
        if progress is not None:
            progress(done, len(kept))
    found = joined(parts)
    if len(kept) < len(chosen):
        told = f"{len(kept)} of {len(chosen)} windows were explained, evenly spread"
        found = replace(found, notes=(*found.notes, told))
    return seen, found


def _apart(seen: Prediction) -> list[int]:
    """Numbers of windows that do not overlap, from the first on."""
    kept, free = [], -np.inf
    for number, (start, end) in enumerate(zip(seen.starts, seen.ends, strict=True)):
        if start >= free - 1e-6:
            kept.append(number)
            free = float(end)
    return kept
