"""Maps that follow the gradient, computed by captum: of a layer's places, or of every voxel.

`gradcam` weighs every place of a layer by its own gradient (Draelos and Carin, 2020, "HiResCAM").
Where a network averages over time and space before a linear layer this is Grad-CAM (Selvaraju et
al., ICCV 2017); elsewhere Grad-CAM's weights are a mean over all frames, which is why its heat is
the same on each of them. `integrated` is integrated gradients (Sundararajan et al., ICML 2017):
what it hands out must add up to what is to be explained, and whether it does is measured.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.explain.asking import Question
from pseudo3d.explain.places import Layer, Sizes, as_map, find_layer

_EXACT = 0.02  # of the sum that may be missing before more steps are taken
_DOUBLINGS = 2
_AT_ONCE = 4  # clips in a pass with gradients


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks for the target, voxel by voxel, in units of the score; negative: against it."""

    values: Float[Tensor, "t h w"]
    places: Sizes  # how many places along each axis can differ
    layer: str | None = None
    completeness: float | None = None  # share of the score that the sum misses; 0 is complete
    steps: int | None = None


def gradcam(
    question: Question, clip: Float[Tensor, "c t h w"], layer: str | None = None
) -> Evidence:
    """Activation times gradient of the places of a layer, spread over the clip.

    Raises:
        ImportError: captum is not installed.
        Pseudo3dError: the network has no gradient, or no such layer.
    """
    attr = require("captum.attr", "explain")
    net = module_of(question)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    x = clip[None].to(device)
    found: Layer = find_layer(net, x[0], layer)
    with torch.enable_grad():
        made = attr.LayerGradientXActivation(question.score, found.module).attribute(
            x.clone().requires_grad_()
        )
    heat = as_map(made.detach().float().cpu(), net)
    size = (clip.shape[1], clip.shape[2], clip.shape[3])
    return Evidence(
        values=found.spread(heat, size).contiguous(), places=found.places, layer=found.name
    )


def integrated(
    question: Question,
    clip: Float[Tensor, "c t h w"],
    empty: Float[Tensor, "c t h w"],
    steps: int,
) -> Evidence:
    """Gradients summed on the way from an empty clip to this one; more steps until they add up.

    Raises:
        ImportError: captum is not installed.
        Pseudo3dError: the network has no gradient.
    """
    attr = require("captum.attr", "explain")
    net = module_of(question)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    x, base = clip[None].to(device), empty[None].to(device)
    with torch.no_grad():
        whole = float(question.score(x) - question.score(base))
    for doubled in range(_DOUBLINGS + 1):
        with torch.enable_grad():
            made = attr.IntegratedGradients(question.score).attribute(
                x.clone().requires_grad_(),
                baselines=base,
                n_steps=steps * 2**doubled,
                internal_batch_size=_AT_ONCE,
            )
        values = made.detach()[0].sum(0).double()
        missed = abs(float(values.sum()) - whole) / max(abs(whole), 1e-3)
        if missed <= _EXACT:
            break
    t, h, w = values.shape
    return Evidence(
        values=values.float().cpu(),
        places=(t, h, w),
        completeness=missed,
        steps=steps * 2**doubled,
    )


def module_of(question: Question) -> nn.Module:
    """The network with its gradients.

    Raises:
        Pseudo3dError: it is an exported program.
    """
    if not isinstance(question.net, nn.Module):
        raise Pseudo3dError(
            "an exported network has no gradients; use the method 'occlusion', or give the "
            "checkpoint it was exported from"
        )
    return question.net
