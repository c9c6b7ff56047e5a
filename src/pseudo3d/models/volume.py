"""Small networks for small volumes: residual P3D blocks behind a stem that keeps every voxel.

The stem of a video network halves height and width twice before its first block; of a crop of 28
voxels that leaves seven. As in the ResNets for 32 x 32 pictures (He et al., CVPR 2016, section
4.2), the stem here is one 1 x 3 x 3 convolution of stride 1, or of stride 2 where a crop is
larger; height and width halve at each later stage, and depth in a pooling before it.

Every network has two twins with the same stem, stages and widths, to say what the third axis is
worth: `_slices` sees one slice at a time and averages what it saw, `_full` has a 3 x 3 x 3 kernel
in the place of every pair.
"""

from dataclasses import replace

from pseudo3d.models.p3d import P3D, P3DConfig
from pseudo3d.models.registry import register

_SMALL = P3DConfig(
    depths=(1, 1, 1),
    block="basic",
    widths=(16, 32, 64),
    mixes=("A",),
    stem_width=16,
    stem_kernel=(1, 3, 3),
    stem_stride=(1, 1, 1),
    stem_pool="none",
    time_pools=(1, 2, 2),
    time_stages=(True, True, True),
    strides=(1, 2, 2),
    in_channels=1,
    num_classes=2,
    dropout=0.2,
)
_BASE = replace(_SMALL, depths=(1, 2, 2), widths=(24, 48, 96), stem_width=24, mixes=("A", "B", "C"))
_DEEP = replace(
    _SMALL,
    depths=(1, 1, 1, 1),
    widths=(16, 32, 64, 96),
    time_pools=(2, 2, 2, 1),
    time_stages=(True, True, True, True),
    strides=(1, 2, 2, 2),
    stem_stride=(1, 2, 2),
)


def _twins(name: str, cfg: P3DConfig) -> dict[str, P3DConfig]:
    """A network, its twin that sees slices one by one, and the one with full kernels."""
    stages = len(cfg.depths)
    slices = replace(cfg, time_stages=(False,) * stages, time_pools=(1,) * stages)
    return {
        name: cfg,
        f"{name}_slices": slices,
        f"{name}_full": replace(cfg, mixes=("full",)),
    }


register(
    P3D,
    {
        **_twins("p3d_volume", _SMALL),  # 28^3 .. 32^3
        **_twins("p3d_volume_base", _BASE),
        **_twins("p3d_volume64", _DEEP),  # 64^3
    },
)
