"""C3D (Tran, Bourdev, Fergus, Torresani, Paluri, ICCV 2015, arXiv 1412.0767).

Eight 3 x 3 x 3 convolutions, five max poolings, two fully connected layers, no batch norm. The
fully connected layers run as convolutions, so that any clip passes: a larger one has several
positions, whose features are averaged (of 112 x 112 pixels and 16 frames there is one, and the
network is the paper's); a smaller one is filled up by repeating its border. The small one has batch
norm, without which it takes a long schedule to train.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.models.p3d import check_head
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import norm
from pseudo3d.nn.conv import Conv3d
from pseudo3d.nn.factor import Split, split
from pseudo3d.nn.stem import AtLeast, MaxPool


@dataclass(frozen=True, kw_only=True)
class C3DConfig:
    """What tells one C3D from another; defaults are the paper's."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)  # conv1 .. conv5
    depths: tuple[int, ...] = (1, 1, 2, 2, 2)  # convolutions before each pooling
    time_pools: tuple[int, ...] = (1, 2, 2, 2, 2)  # frames that each pooling takes together
    fc: tuple[int, int] = (4096, 4096)  # fc6, fc7
    window: tuple[int, int] = (4, 4)  # height and width that fc6 looks at
    norm: bool = False  # batch norm after each convolution; not in the paper
    causal: bool = False  # no output waits for a later frame: for streams; train it so
    in_channels: int = 3
    num_classes: int = 487  # Sports-1M
    dropout: float = 0.5  # after fc6 and after fc7
    ranks: tuple[Split, ...] = ()  # convolutions as pairs, from factorize()

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.depths) == len(self.time_pools) > 1:
            raise ValueError(
                f"widths {self.widths}, depths {self.depths} and time_pools {self.time_pools}: "
                "wanted one value for each pooling, of two or more"
            )
        for name in ("widths", "depths", "time_pools", "fc", "window"):
            if min(value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value!r}; wanted at least 1 each")
        check_head(self.num_classes, self.dropout, self.in_channels)


class C3D(Network):
    """Clip (N, C, T, H, W) -> features (N, F), logits (N, num_classes)."""

    def __init__(self, cfg: C3DConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.dropout = nn.Dropout(cfg.dropout)
        groups, cin = [], cfg.in_channels
        for i, width in enumerate(cfg.widths):
            groups.append(_group(cfg, i, cin))
            cin = width
        self.stem, convolutions = groups[0], groups[1:]
        fc6, fc7 = cfg.fc
        connected = OrderedDict[str, nn.Module](
            fill=AtLeast(cfg.window),
            fc6=Conv3d(cin, fc6, (1, *cfg.window), bias=True),
            fc6_act=nn.ReLU(),
            dropout=self.dropout,  # the same one, so that a recipe sets both
            fc7=Conv3d(fc6, fc7, (1, 1, 1), bias=True),
            fc7_act=nn.ReLU(),
        )
        self.stages = nn.ModuleList([*convolutions, nn.Sequential(connected)])
        self.head = nn.Linear(fc7, cfg.num_classes)
        split(self, cfg.ranks)
        _initialize(self)


def _group(cfg: C3DConfig, index: int, cin: int) -> nn.Sequential:
    """The convolutions before a pooling, named as in the paper: conv3a, conv3b; and the pooling."""
    parts, width = OrderedDict[str, nn.Module](), cfg.widths[index]
    for j in range(cfg.depths[index]):
        name = "conv" if index == 0 and cfg.depths[0] == 1 else f"conv{index + 1}{chr(97 + j)}"
        conv = Conv3d(
            cin, width, (3, 3, 3), padding=(1, 1, 1), bias=not cfg.norm, causal=cfg.causal
        )
        parts[name] = conv
        if cfg.norm:
            parts[f"{name}_norm"] = norm(width)
        parts[f"{name}_act"] = nn.ReLU()
        cin = width
    kernel = (cfg.time_pools[index], 2, 2)
    parts[f"pool{index + 1}"] = MaxPool(kernel, kernel)
    return nn.Sequential(parts)


def _initialize(net: C3D) -> None:
    """He fan-in, biases zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


register(
    C3D,
    {
        "c3d_tiny": C3DConfig(
            widths=(16, 16, 64, 128, 176),  # p3d_tiny's at the same picture sizes
            fc=(256, 256),
            window=(2, 2),
            norm=True,
            num_classes=400,
        ),
        "c3d": C3DConfig(),
    },
)
