"""What of a network acts on height and width, and whether a 2-D ResNet can be put into it."""

from dataclasses import dataclass

from pseudo3d.errors import WeightsError
from pseudo3d.models.network import Network
from pseudo3d.models.p3d import P3DConfig, StrideOn
from pseudo3d.models.resnet2d import ResNet2dConfig
from pseudo3d.models.resnet3d import ResNet3dConfig
from pseudo3d.models.tsm import TSMConfig
from pseudo3d.nn.stem import SpacePool
from pseudo3d.recycle.foreign.kinds import BlockName

_STRIDES = (1, 2, 2, 2)


@dataclass(frozen=True, kw_only=True)
class Space:
    """What of a network acts on height and width."""

    depths: tuple[int, ...]
    block: BlockName
    stride_on: StrideOn
    pool: SpacePool
    stem_stride: tuple[int, int]
    strides: tuple[int, ...]
    dilation: tuple[int, int] = (1, 1)
    padding_mode: str = "zeros"


def space_of(net: Network) -> Space:
    """Read a network's config.

    Raises:
        WeightsError: a family that no 2-D ResNet can be put into.
    """
    cfg = net.cfg
    if isinstance(cfg, P3DConfig):
        form = cfg.form()
        return Space(
            depths=cfg.depths,
            block=cfg.block,
            stride_on=form.stride_on,
            pool=form.stem_pool,
            stem_stride=form.stem_stride[1:],
            strides=cfg.strides,
            dilation=cfg.dilation[1:],
            padding_mode=cfg.padding_mode,
        )
    if isinstance(cfg, ResNet3dConfig):
        return _space_of_3d(cfg)
    if isinstance(cfg, ResNet2dConfig | TSMConfig):
        return Space(
            depths=cfg.depths,
            block=cfg.block,
            stride_on="3x3" if isinstance(cfg, TSMConfig) else cfg.stride_on,
            pool=cfg.stem_pool,
            stem_stride=(2, 2),
            strides=cfg.strides,
        )
    raise WeightsError(
        f"a {type(net).__name__} cannot be started from a ResNet; wanted a P3D, ResNet2d, TSM, or "
        "a ResNet3d of full or inflated kernels"
    )


def _space_of_3d(cfg: ResNet3dConfig) -> Space:
    if cfg.stem_middle is not None or any("2+1" in pattern for pattern in cfg.forms):
        raise WeightsError(
            "(2+1)-D blocks have middle widths no 2-D network has; start a P3D from the ResNet "
            "instead, whose 1 x 3 x 3 kernels are its 3 x 3 ones"
        )
    if cfg.ranks:
        raise WeightsError("a factorized network cannot be started from a ResNet; start it first")
    wide = max(cfg.dilations)
    return Space(
        depths=cfg.depths,
        block=cfg.block,
        stride_on="3x3",
        pool=cfg.stem_pool,
        stem_stride=cfg.stem_stride[1:],
        strides=cfg.strides,
        dilation=(wide, wide),
    )


def check_space(space: Space, told: str, stride_on: StrideOn, pool: str) -> None:
    """Refuse nets whose spatial part cannot equal the source's.

    Raises:
        WeightsError: another stride, pooling, dilation or padding; the message names them all.
    """
    wrong: dict[str, tuple[object, object]] = {}  # option: (the net's value, the source's)
    if space.block == "bottleneck" and space.stride_on != stride_on:
        wrong["stride_on"] = space.stride_on, stride_on
    if space.pool != pool:
        wrong["stem_pool"] = space.pool, pool
    for name, have, need in (
        ("strides", space.strides, _STRIDES),
        ("stem_stride's height and width", space.stem_stride, (2, 2)),
        ("dilation's height and width", space.dilation, (1, 1)),
        ("padding_mode", space.padding_mode, "zeros"),
    ):
        if have != need:
            wrong[name] = have, need
    if not wrong:
        return
    have = ", ".join(f"{k} {v[0]!r}" for k, v in wrong.items())
    need = ", ".join(f"{k}={v[1]!r}" for k, v in wrong.items())
    raise WeightsError(
        f"{told}: the network has {have}, the source needs {need}; build it so: "
        f"create_model(..., {need}). (source_stride, source_pool say what the source has.)"
    )
