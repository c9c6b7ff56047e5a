"""What a network looked at, frame by frame, and whether the picture of it can be believed.

Four methods: `gradcam` (one pass, as fine as the layer it is read from), `integrated` (some
hundred passes, every voxel), `occlusion` (hides blocks of space and time; asks no gradient), and
`random`, a wrong map on purpose, to see what a wrong map scores.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.engine.judge import known
from pseudo3d.engine.predict import Prediction, predict
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.explain.asking import Asked, Question, ask, opened
from pseudo3d.explain.faithfulness import Trial, check_map
from pseudo3d.explain.footage import footage
from pseudo3d.explain.gradients import Evidence, gradcam, integrated
from pseudo3d.explain.occlusion import emptied, occlusion
from pseudo3d.explain.saliency import METHODS as METHODS
from pseudo3d.explain.saliency import Attribution as Attribution
from pseudo3d.explain.saliency import How as How
from pseudo3d.explain.saliency import Method as Method
from pseudo3d.explain.visualize import smooth

_GRAIN = 32  # single voxels of `integrated` are smoothed over one so manieth of the shorter side
_BRIGHT, _END = 0.999, 0.9  # share of its voxels below the end of the scale, where that begins
_INEXACT = 0.1  # share of the score that may be missing before a reader is told


def explain(
    model: Asked,
    clip: Float[Tensor, "c t h w"],
    *,
    target: int | str | None = None,
    method: Method = "gradcam",
    seed: int | None = None,
    how: How | None = None,
) -> Attribution:
    """Show where and when a clip speaks for a class.

    Args:
        model: a network, a checkpoint, or for `occlusion` an exported file.
        clip: one normalized clip, as the network takes it.
        target: a class, or its number; None takes the network's answer.
        seed: as `how.seed`, which it replaces.
    Raises:
        Pseudo3dError: not a clip, no such class or layer, or no gradient for the method.
        ImportError: captum is not installed and the method needs it.
    Example:
        >>> explain(net, clip, target="wave", method="integrated").importance
    """
    how = _checked(clip, method, seed, how or How())
    clip = clip.detach().float().cpu()
    question = ask(opened(model), clip, target)
    empty = emptied(clip, how.baseline)
    found = _evidence(question, clip, empty, method, how)
    heat = _heat(found, method, question)
    tested = None
    if how.check:
        trial = Trial(cells=how.cells, controls=how.controls, seed=how.seed)
        tested = check_map(question, clip, empty, heat, trial)
    return Attribution(
        heat=heat.numpy(),
        importance=shares(heat.double().mean((1, 2))).numpy(),
        times=np.arange(len(heat), dtype=np.float64),
        target=question.name,
        method=method,
        answer=question.one(clip),
        evidence=found.values.numpy(),
        places=found.places,
        layer=found.layer,
        completeness=found.completeness,
        faithfulness=tested,
        notes=tuple(_notes(found, question, heat)),
    )


def _checked(clip: Tensor, method: str, seed: int | None, how: How) -> How:
    """What is asked for, refused where it makes no sense, with the seed put in."""
    if method not in METHODS:
        raise TypeError(unknown("method", str(method), METHODS))
    if clip.ndim != 4 or 0 in clip.shape:
        raise Pseudo3dError(
            f"clip has shape {tuple(clip.shape)}; wanted one clip (C, T, H, W), no batch axis"
        )
    return how if seed is None else replace(how, seed=seed)


def shares(each: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Parts of the sum; all alike where there is none."""
    total = each.sum()
    return each / total if total > 0 else torch.full_like(each, 1 / len(each))


def _evidence(
    question: Question, clip: Tensor, empty: Tensor, method: Method, how: How
) -> Evidence:
    if method == "gradcam":
        return gradcam(question, clip, how.layer)
    if method == "integrated":
        return integrated(question, clip, empty, how.steps)
    if method == "occlusion":
        return occlusion(question, clip, empty, how.cells)
    rng = torch.Generator().manual_seed(how.seed)
    size = (clip.shape[1], clip.shape[2], clip.shape[3])
    t, h, w = (min(n, c) for n, c in zip(size, how.cells, strict=True))
    rough = torch.randn(1, 1, t, h, w, generator=rng)
    made = torch.nn.functional.interpolate(rough, size, mode="trilinear", align_corners=False)
    return Evidence(values=made[0, 0], places=(t, h, w))


def _heat(found: Evidence, method: Method, question: Question) -> Float[Tensor, "t h w"]:
    """What speaks for the target, from 0 to 1; of a number, what moves it either way."""
    values = found.values
    if method == "integrated":  # single voxels say little; frames are kept apart
        grain = min(values.shape[1:]) / _GRAIN
        values = smooth(smooth(values, grain, axis=-1), grain, axis=-2)
    heat = values.abs() if question.kind == "value" else values.clamp(min=0)
    heat = heat / heat.max().clamp(min=1e-12)
    if method == "integrated":
        few = int((1 - _BRIGHT) * heat.numel())
        heat = _bent(heat, float(heat.flatten().kthvalue(heat.numel() - few).values))
    return heat


def _bent(heat: Tensor, knee: float) -> Tensor:
    """What is hotter than the knee shares the end of the scale, in its order.

    Else a handful of voxels would leave all others in the dark.
    """
    if not 0 < knee < _END:
        return heat
    return torch.where(
        heat <= knee, heat * (_END / knee), _END + (1 - _END) * (heat - knee) / (1 - knee)
    )


def _notes(found: Evidence, question: Question, heat: Tensor) -> list[str]:
    told = []
    if not heat.any():
        told.append(f"nothing in the clip speaks for {question.name}; the map is empty")
    frames = len(found.values)
    if found.places[0] < frames:
        told.append(
            f"{found.places[0]} moments are told apart in {frames} frames; those between them are "
            "interpolated"
        )
    if found.completeness is not None and found.completeness > _INEXACT:
        told.append(
            f"the map's sum misses {found.completeness:.0%} of the score after {found.steps} "
            "steps; take more steps"
        )
    if question.kind == "label" and question.where is None:
        told.append(f"no voxel got the label {question.name}; the mean over all is explained")
    return told


def explain_video(
    model: Asked,
    path: str | Path,
    *,
    target: int | str | None = None,
    method: Method = "gradcam",
    window: int | float | None = None,
    how: How | None = None,
) -> tuple[Prediction, Attribution]:
    """Recognize a video and show what one window's answer rests on.

    The window's middle clip is explained; a prediction may average several views of it.

    Args:
        target: None takes the label of the video.
        window: an int is the window's number, a float a time in s; None takes the window that is
            surest of the target.
    Raises:
        VideoError: the video cannot be read.
        Pseudo3dError: as `explain`, or no such window.
    """
    run = opened(model)
    seen = predict(run, path)  # type: ignore[arg-type]  # a network that takes videos has a card
    name = seen.label if target is None else named(target, seen.classes)
    number = _pick(seen, name, window)
    span = (float(seen.starts[number]), float(seen.ends[number]))
    return seen, explain_span(run, path, span, target=name, method=method, how=how)


def explain_span(
    model: Asked,
    path: str | Path,
    span: tuple[float, float],
    *,
    target: int | str | None = None,
    method: Method = "gradcam",
    how: How | None = None,
) -> Attribution:
    """Show what the answer to a stretch of video, in s, rests on.

    Raises:
        VideoError: the video cannot be read, or holds nothing there.
        Pseudo3dError: as `explain`.
    """
    run = opened(model)
    pre, _ = known(run)  # type: ignore[arg-type]  # says itself what is missing
    seen = footage(path, pre, span)
    made = explain(run, pre.normalize(seen.clip[None])[0], target=target, method=method, how=how)
    return replace(made, times=seen.times.double().numpy(), box=seen.box, span=span)


def named(target: int | str, classes: tuple[str, ...]) -> str:
    """The name of a class that is given by name or number.

    Raises:
        Pseudo3dError: there is no such class.
    """
    if isinstance(target, int) and 0 <= target < len(classes):
        return classes[target]
    if target in classes:
        return str(target)
    raise Pseudo3dError(unknown("class of this network", str(target), classes))


def _pick(seen: Prediction, target: str, window: int | float | None) -> int:
    """The number of the window that is asked for."""
    count = len(seen.starts)
    if window is None:
        return int(seen.window_probs[:, seen.classes.index(target)].argmax())
    if isinstance(window, float):
        return int(np.abs(seen.times - window).argmin())
    if not 0 <= window < count:
        raise Pseudo3dError(
            f"window is {window}; {seen.source} has {count}, numbered 0 to {count - 1}"
        )
    return window
