"""Networks written as a PyTorch user would write them: what our speed is measured against.

`PlainP3D` is any of our P3D and per-frame networks in `nn.Conv3d`, `nn.BatchNorm3d` and tensors as
they come: no view, no layout, no fusion. It shares no layer with `pseudo3d.nn`, but names its
parameters alike, so that ours can be loaded into it. `PlainResNet3d` is R3D-18 and R(2+1)D-18
(Tran et al., CVPR 2018, arXiv 1711.11248), the 3-D networks people would otherwise take.
"""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.bench.plainly import Plain
from pseudo3d.models import default_config
from pseudo3d.models.network import Network
from pseudo3d.models.p3d import P3DConfig
from pseudo3d.models.resnet2d import ResNet2dConfig

Triple = tuple[int, int, int]


class Pair(nn.Module):
    """1 x k x k and k x 1 x 1, combined as mix and semantics say."""

    def __init__(self, cin: int, cout: int, cfg: Any, mix: str | None, stride: int) -> None:
        super().__init__()
        (kt, kh, kw), (dt, dh, dw), mode = cfg.kernel, cfg.dilation, cfg.padding_mode
        self.mix, self.semantics = None if mix == "full" else mix, cfg.semantics
        full = mix == "full"
        self.space = nn.Conv3d(
            cin,
            cout,
            (kt if full else 1, kh, kw),
            (1, stride, stride),
            (dt * (kt // 2) if full else 0, dh * (kh // 2), dw * (kw // 2)),
            (dt if full else 1, dh, dw),
            bias=False,
            padding_mode=mode,
        )
        self.space_norm = nn.BatchNorm3d(cout)
        if self.mix is not None:
            beside = mix == "B"
            self.time = nn.Conv3d(
                cin if beside else cout,
                cout,
                (kt, 1, 1),
                (1, stride, stride) if beside else 1,
                (dt * (kt // 2), 0, 0),
                (dt, 1, 1),
                bias=False,
                padding_mode=mode,
            )
            if cfg.semantics != "modern":
                self.time_norm = nn.BatchNorm3d(cout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        s = self.space(x)
        if self.mix is not None and self.semantics == "modern" and self.mix != "C":
            both = self.time(s) if self.mix == "A" else s + self.time(x)
            return F.relu(self.space_norm(both))
        s = F.relu(self.space_norm(s))
        if self.mix is None:
            return s
        if self.semantics == "modern":
            return F.relu(s + self.time(s))
        t = self.time_norm(self.time(x if self.mix == "B" else s))
        if self.mix == "A":
            return F.relu(t)
        if self.semantics == "port":
            return s + F.relu(t)
        return F.relu(s + t) if self.mix == "B" else F.relu((s + t) / 2)


class Block(nn.Module):
    """Residual block around a pair."""

    def __init__(
        self, cin: int, width: int, cfg: Any, mix: str | None, stride: int, stride_on: str
    ) -> None:
        super().__init__()
        self.deep = cfg.block == "bottleneck"
        cout = width * 4 if self.deep else width
        early, late = (stride, 1) if self.deep and stride_on == "1x1" else (1, stride)
        if self.deep:
            self.reduce = nn.Conv3d(cin, width, 1, (1, early, early), bias=False)
            self.reduce_norm = nn.BatchNorm3d(width)
            self.pair = Pair(width, width, cfg, mix, late)
            self.expand = nn.Conv3d(width, cout, 1, bias=False)
            self.expand_norm = nn.BatchNorm3d(cout)
        else:
            _, kh, kw = cfg.kernel
            pad = (0, kh // 2, kw // 2)
            mode = cfg.padding_mode
            self.pair = Pair(cin, width, cfg, mix, stride)
            self.refine = nn.Conv3d(
                width, width, (1, kh, kw), 1, pad, bias=False, padding_mode=mode
            )
            self.refine_norm = nn.BatchNorm3d(width)
        self.shortcut: nn.Module = nn.Identity()
        if cin != cout or stride != 1:
            project = nn.Conv3d(cin, cout, 1, (1, stride, stride), bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm3d(cout))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        if self.deep:
            y = self.pair(F.relu(self.reduce_norm(self.reduce(x))))
            y = self.expand_norm(self.expand(y))
        else:
            y = self.refine_norm(self.refine(self.pair(x)))
        return F.relu(y + self.shortcut(x))


class PlainStem(nn.Module):
    """Convolution, batch norm, ReLU, pooling over time, pooling over space."""

    def __init__(
        self, cin: int, cout: int, kernel: Triple, stride: Triple, pool: str, time_pool: int
    ) -> None:
        super().__init__()
        kt, kh, kw = kernel
        self.pool, self.time_pool = pool, time_pool
        self.piece = stride[0] if kt == stride[0] else 1
        pad = (kt // 2 if kt % 2 else 0, kh // 2, kw // 2)
        self.conv = nn.Conv3d(cin, cout, kernel, stride, pad, bias=False)
        self.norm = nn.BatchNorm3d(cout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        if missing := -x.shape[2] % self.piece:
            x = F.pad(x, (0, 0, 0, 0, 0, missing), mode="replicate")
        x = over_time(F.relu(self.norm(self.conv(x))), self.time_pool)
        if self.pool == "none":
            return x
        pad = (0, 1, 1) if self.pool == "pad" else 0
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), pad, ceil_mode=self.pool == "ceil")


def over_time(x: Tensor, factor: int) -> Tensor:
    """Maximum over each `factor` frames."""
    if factor == 1:
        return x
    window = (min(factor, x.shape[2]), 1, 1)
    return F.max_pool3d(x, window, (factor, 1, 1), ceil_mode=True)


class PlainP3D(nn.Module):
    """A P3D network or its per-frame twin, plainly. Clip (N, C, T, H, W) -> logits (N, K)."""

    def __init__(self, cfg: P3DConfig) -> None:
        super().__init__()
        form, cin, letter = cfg.form(), cfg.stem_width, 0
        self.stem = PlainStem(
            cfg.in_channels,
            cin,
            form.stem_kernel,
            form.stem_stride,
            form.stem_pool,
            form.time_pools[0],
        )
        self.time_pools = (*form.time_pools[1:], 1)
        self.stages = nn.ModuleList()
        for i, (depth, width) in enumerate(zip(cfg.depths, cfg.widths, strict=True)):
            stage = nn.Sequential()
            for j in range(depth):
                mix = cfg.mixes[letter % len(cfg.mixes)] if form.time_stages[i] else None
                letter += form.time_stages[i]
                stride = cfg.strides[i] if j == 0 else 1
                stage.append(Block(cin, width, cfg, mix, stride, form.stride_on))
                cin = width * 4 if cfg.block == "bottleneck" else width
            self.stages.append(stage)
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        x = self.stem(x)
        for stage, factor in zip(self.stages, self.time_pools, strict=True):
            x = over_time(stage(x), factor)
        return self.head(self.dropout(x.mean(dim=(2, 3, 4))))


def plain(net: Network) -> nn.Module:
    """The plain form of one of our networks, with its weights, in its mode.

    P3D and the per-frame networks are written anew above; of the other families, whose blocks are
    nothing but layers one after the other, the layers are exchanged for torch's.
    """
    cfg = net.cfg
    if isinstance(cfg, ResNet2dConfig):
        k, stages = cfg.stem_kernel, len(cfg.depths)
        shared = ("depths", "block", "widths", "stem_width", "stem_pool", "strides", "in_channels")
        cfg = P3DConfig(
            **{key: getattr(cfg, key) for key in (*shared, "num_classes", "dropout")},
            stride_on=cfg.stride_on if cfg.block == "bottleneck" else None,
            stem_kernel=(1, k, k),
            stem_stride=(1, 2, 2),
            time_pools=(1,) * stages,
            time_stages=(False,) * stages,
        )
    if not isinstance(cfg, P3DConfig):
        return Plain(net).train(net.training)
    twin = PlainP3D(cfg)
    twin.load_state_dict(net.state_dict())
    return twin.train(net.training)


def plain_p3d50(num_classes: int = 400) -> PlainP3D:
    """P3D-50 of the authors' release with fresh weights: 25.7 M parameters, 16.88 GFLOP."""
    fields = {**vars(default_config("p3d50")), "semantics": "release", "num_classes": num_classes}
    return PlainP3D(P3DConfig(**fields))


class Unit(nn.Module):
    """3 x 3 x 3 convolution (R3D), or 1 x 3 x 3, batch norm, ReLU, 3 x 1 x 1 (R(2+1)D); its norm.

    Args:
        middle: channels between the factors; None does not factor.
    """

    def __init__(self, cin: int, cout: int, stride: int, middle: int | None) -> None:
        super().__init__()
        if middle is not None:
            self.conv: nn.Module = nn.Sequential(
                nn.Conv3d(cin, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
                nn.BatchNorm3d(middle),
                nn.ReLU(inplace=True),
                nn.Conv3d(middle, cout, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
            )
        else:
            self.conv = nn.Conv3d(cin, cout, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm3d(cout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        return self.norm(self.conv(x))


class Residual(nn.Module):
    """Two units and a shortcut."""

    def __init__(self, cin: int, cout: int, stride: int, factored: bool) -> None:
        super().__init__()
        # As many weights as the first unit unfactored; the second keeps the width (as released).
        middle = 27 * cin * cout // (9 * cin + 3 * cout) if factored else None
        self.first = Unit(cin, cout, stride, middle)
        self.second = Unit(cout, cout, 1, middle)
        self.shortcut: nn.Module = nn.Identity()
        if cin != cout or stride != 1:
            project = nn.Conv3d(cin, cout, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm3d(cout))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        y = self.second(F.relu(self.first(x)))
        return F.relu(y + self.shortcut(x))


class PlainResNet3d(nn.Module):
    """R3D-18, or R(2+1)D-18 when factored. Clip (N, 3, T, H, W) -> logits (N, K)."""

    def __init__(self, *, factored: bool, width: int = 64, num_classes: int = 400) -> None:
        super().__init__()
        middle = 45 * width // 64
        stem = [nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)]
        if factored:
            stem = [
                nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
                nn.Conv3d(middle, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
            ]
        layers: list[nn.Module] = []
        for conv in stem:
            layers += [conv, nn.BatchNorm3d(conv.out_channels), nn.ReLU(inplace=True)]
        cin = width
        for i in range(4):
            cout = width << i
            layers.append(Residual(cin, cout, 2 if i else 1, factored))
            layers.append(Residual(cout, cout, 1, factored))
            cin = cout
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(cin, num_classes)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        return self.head(self.body(x).mean(dim=(2, 3, 4)))
