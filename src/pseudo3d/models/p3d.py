"""P3D ResNet (Qiu, Yao, Mei, ICCV 2017, arXiv 1711.10305).

Three semantics: `release`, the network of the authors' Caffe files; `port`, what the common
PyTorch port of it computes; `modern`, after the first author's code of 2021, which starts as its
2-D self, keeps time in every stage and takes clips of any length. Beyond the paper: the 18- and
34-layer nets with basic blocks (from the 2021 code) and two small ones that a CPU can train.
"""

from dataclasses import dataclass
from itertools import count
from typing import Literal

from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import Basic, Bottleneck, Mix, PairSpec, Semantics, initialize
from pseudo3d.nn.conv import Padding, Triple
from pseudo3d.nn.factor import Split, split
from pseudo3d.nn.stem import SpacePool, Stem, StemSpec, time_pool

StrideOn = Literal["1x1", "3x3"]


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a semantics fixes beyond its blocks."""

    stem_kernel: Triple
    stem_stride: Triple
    stem_pool: SpacePool
    time_pools: tuple[int, ...]  # after the stem and after each stage but the last
    time_stages: tuple[bool, ...]  # which stages have temporal convolutions
    stride_on: StrideOn


_CAFFE = Form(
    stem_kernel=(1, 7, 7),
    stem_stride=(1, 2, 2),
    stem_pool="ceil",
    time_pools=(2, 2, 2, 2),
    time_stages=(True, True, True, False),
    stride_on="1x1",
)
FORMS: dict[Semantics, Form] = {
    "release": _CAFFE,
    "port": Form(**{**vars(_CAFFE), "stem_pool": "pad"}),
    "modern": Form(
        stem_kernel=(4, 7, 7),
        stem_stride=(4, 2, 2),
        stem_pool="pad",
        time_pools=(1, 1, 1, 1),
        time_stages=(True, True, True, True),
        stride_on="3x3",
    ),
}


@dataclass(frozen=True, kw_only=True)
class P3DConfig:
    """What tells one P3D network from another; None takes what `semantics` says."""

    depths: tuple[int, ...]  # blocks per stage
    block: Literal["basic", "bottleneck"] = "bottleneck"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    mixes: tuple[Mix, ...] = ("A", "B", "C")  # repeated block after block; full: the 3-D twin
    semantics: Semantics = "modern"
    stem_width: int = 64
    stem_kernel: Triple | None = None
    stem_stride: Triple | None = None
    stem_pool: SpacePool | None = None
    time_pools: tuple[int, ...] | None = None
    time_stages: tuple[bool, ...] | None = None
    strides: tuple[int, ...] = (1, 2, 2, 2)  # of height and width, per stage
    stride_on: StrideOn | None = None  # only bottlenecks have the choice
    kernel: Triple = (3, 3, 3)
    dilation: Triple = (1, 1, 1)
    padding_mode: Padding = "zeros"
    causal: bool = False  # no output waits for a later frame: for streams; train it so
    in_channels: int = 3
    num_classes: int = 400  # Kinetics
    dropout: float = 0.5
    ranks: tuple[Split, ...] = ()  # full convolutions as pairs, from factorize()

    def __post_init__(self) -> None:
        if self.semantics not in FORMS:
            raise ValueError(
                f"semantics is {self.semantics!r}; wanted 'release', 'port' or 'modern'"
            )
        stages = len(self.depths)
        for name in ("widths", "strides"):
            _check_length(name, getattr(self, name), stages)
        check_body(self.depths, self.widths, self.stem_width, self.block, self.stride_on)
        for name in ("time_pools", "time_stages"):
            if (value := getattr(self, name)) is not None:
                _check_length(name, value, stages)
        if stages != 4 and (self.time_pools is None or self.time_stages is None):
            raise ValueError(
                f"depths {self.depths} names {stages} stages; a semantics knows four, so "
                "time_pools and time_stages must be given"
            )
        if not self.mixes or None in self.mixes:
            raise ValueError(
                f"mixes is {'empty' if not self.mixes else self.mixes}; wanted A, B, C or full "
                "(no time in a stage: time_stages; no time at all: a resnet)"
            )
        if self.time_pools is not None and min(self.time_pools) < 1:
            raise ValueError(f"time_pools is {self.time_pools}; wanted factors of 1 or more")
        if self.block == "basic" and self.stride_on is not None:
            raise ValueError(
                f"stride_on={self.stride_on!r} has no meaning for basic blocks, which stride their "
                "first convolution; leave it out"
            )
        check_head(self.num_classes, self.dropout, self.in_channels)
        reaches = any(self.form().time_stages) or self.stem().looks_along_time
        check_causal(self.causal, reaches)

    def form(self) -> Form:
        """The semantics' form with this config's own choices put in."""
        form = vars(FORMS[self.semantics])
        own = {key: getattr(self, key) for key in form if getattr(self, key) is not None}
        return Form(**{**form, **own})

    def stem(self) -> StemSpec:
        """The first layers."""
        form = self.form()
        return StemSpec(
            kernel=form.stem_kernel,
            stride=form.stem_stride,
            pool=form.stem_pool,
            time_pool=form.time_pools[0],
            causal=self.causal,
        )


def check_head(num_classes: int, dropout: float, in_channels: int) -> None:
    """Refuse impossible head and input sizes.

    Raises:
        ValueError: fewer than one class or channel, a dropout outside [0, 1).
    """
    if num_classes < 1 or in_channels < 1:
        raise ValueError(
            f"num_classes is {num_classes}, in_channels {in_channels}; wanted at least 1 each"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; wanted at least 0 and below 1")


def check_causal(causal: bool, reaches: bool) -> None:
    """Refuse the option where no kernel reaches over the frames beside its own.

    Raises:
        ValueError: there is none.
    """
    if causal and not reaches:
        raise ValueError(
            "causal=True changes nothing: no kernel of the network looks at the frames beside its "
            "own, so it never waits for a later one; leave it out"
        )


def check_body(
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    stem_width: int,
    block: str,
    stride_on: str | None,
) -> None:
    """Refuse impossible stages.

    Raises:
        ValueError: a stage without blocks or channels, an unknown block or place of the stride.
    """
    for name, value in (("depths", depths), ("widths", widths), ("stem_width", (stem_width,))):
        if min(value, default=0) < 1:
            raise ValueError(f"{name} is {value!r}; wanted at least 1 each")
    if block not in ("basic", "bottleneck"):
        raise ValueError(f"block is {block!r}; wanted 'basic' or 'bottleneck'")
    if stride_on not in ("1x1", "3x3", None):
        raise ValueError(f"stride_on is {stride_on!r}; wanted '1x1' or '3x3'")


def _check_length(name: str, value: tuple, stages: int) -> None:
    if len(value) != stages:
        raise ValueError(f"{name} is {value!r} for {stages} stages; wanted {stages} values")


class P3D(Network):
    """Clip (N, C, T, H, W) -> features (N, F), logits (N, num_classes)."""

    def __init__(self, cfg: P3DConfig) -> None:
        super().__init__()
        self.cfg, form = cfg, cfg.form()
        self.stem = Stem(cfg.in_channels, cfg.stem_width, cfg.stem())
        self.stages = nn.ModuleList()
        letter, cin = count(), cfg.stem_width
        after = (*form.time_pools[1:], 1)
        for i, (depth, width) in enumerate(zip(cfg.depths, cfg.widths, strict=True)):
            blocks: list[nn.Module] = []
            for j in range(depth):
                mix = cfg.mixes[next(letter) % len(cfg.mixes)] if form.time_stages[i] else None
                blocks.append(_block(cfg, form, cin, width, mix, cfg.strides[i] if j == 0 else 1))
                cin = width * (Bottleneck if cfg.block == "bottleneck" else Basic).expansion
            self.stages.append(nn.Sequential(*blocks, time_pool(after[i])))
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)
        split(self, cfg.ranks)
        initialize(self)


def _block(
    cfg: P3DConfig, form: Form, cin: int, width: int, mix: Mix | None, stride: int
) -> nn.Module:
    spec = PairSpec(
        mix=mix,
        semantics=cfg.semantics,
        kernel=cfg.kernel,
        dilation=cfg.dilation,
        padding_mode=cfg.padding_mode,
        causal=cfg.causal and mix is not None,
    )
    if cfg.block == "basic":
        return Basic(cin, width, spec, stride)
    return Bottleneck(cin, width, spec, stride, form.stride_on)


register(
    P3D,
    {
        "p3d_nano": P3DConfig(
            depths=(1, 1, 1, 1),
            block="basic",
            widths=(16, 32, 64, 80),
            stem_width=16,
            stem_kernel=(1, 5, 5),
            stem_stride=(1, 2, 2),
            stem_pool="none",
            time_pools=(1, 2, 1, 1),
            dropout=0.2,
        ),
        "p3d_tiny": P3DConfig(
            depths=(1, 2, 2, 1),
            block="basic",
            widths=(16, 64, 128, 176),
            stem_width=16,
            stem_kernel=(1, 5, 5),
            stem_stride=(1, 2, 2),
            stem_pool="none",
            time_pools=(1, 2, 2, 1),
        ),
        "p3d18": P3DConfig(depths=(2, 2, 2, 2), block="basic"),
        "p3d34": P3DConfig(depths=(3, 4, 6, 3), block="basic"),
        "p3d50": P3DConfig(depths=(3, 4, 6, 3)),
        "p3d101": P3DConfig(depths=(3, 4, 23, 3)),
        "p3d152": P3DConfig(depths=(3, 8, 36, 3)),
    },
)
