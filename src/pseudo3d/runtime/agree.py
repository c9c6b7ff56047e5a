"""Whether another form of a network computes the same."""

from copy import deepcopy

from jaxtyping import Float
from torch import Tensor

from pseudo3d.models.network import Network
from pseudo3d.runtime.inference import inference


@inference
def difference(
    net: Network,
    clips: Float[Tensor, "n c t h w"],
    logits: Float[Tensor, "n k"] | Float[Tensor, "n k t h w"],
) -> float:
    """How far logits are from those of `net` in float32, relative to what they are summed from.

    A logit is a sum of features times weights. Where these terms cancel it is small and has the
    rounding of the large terms; relative to itself alone, two right forms could seem to differ.
    """
    plain = deepcopy(net).float().eval()
    if net.per_voxel:
        features, logits = plain.feature_map(clips.float()).movedim(1, -1), logits.movedim(1, -1)
    else:
        features = plain.features(clips.float())
    want = plain.head(features)
    terms = features.square() @ plain.head.weight.square().T  # norm of each logit's terms, squared
    scale = max(float(want.norm()), float(terms.sum().sqrt()), 1e-12)
    return float((logits.float() - want).norm()) / scale
