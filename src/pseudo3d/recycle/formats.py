"""Checkpoints of other projects, recognized by the names of their entries and put under ours.

Two kinds: the published PyTorch P3D networks (layout of the common port; "P3D63", "P3D131",
"P3D199"), and 2-D ResNets under torchvision's names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError

State = Mapping[str, Tensor]
Kind = Literal["ours", "published", "resnet"]
BlockName = Literal["basic", "bottleneck"]

KNOWN = (
    "checkpoints of pseudo3d (safetensors with metadata), published PyTorch P3D networks "
    "(conv1_custom, layer1.0.conv1 .. conv4, layer4.0.conv_normal, fc), 2-D ResNets under "
    "torchvision's names (conv1, layer1.0.conv1, fc; for `inflate`)"
)
_PUBLISHED: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "p3d50",
    (3, 4, 23, 3): "p3d101",
    (3, 8, 36, 3): "p3d152",
}
_RESNETS: dict[tuple[BlockName, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "ResNet-18",
    ("basic", (3, 4, 6, 3)): "ResNet-34",
    ("bottleneck", (3, 4, 6, 3)): "ResNet-50",
    ("bottleneck", (3, 4, 23, 3)): "ResNet-101",
    ("bottleneck", (3, 8, 36, 3)): "ResNet-152",
}
_TRACKED = "num_batches_tracked"
# A first batch norm that saw bytes has variances of hundreds; one that saw input of order 1, of
# order 1.
_BYTE_VARIANCE = 30.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of each entry when a network was started from other weights."""

    source: str
    loaded: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()  # what was changed on the way, in words
    error: float | None = (
        None  # greatest difference from the 2-D network, relative; None: not compared
    )

    def __str__(self) -> str:
        lines = [f"from {self.source}", f"  loaded: {len(self.loaded)} entries"]
        lines += [f"  reshaped: {text}" for text in self.reshaped]
        lines.append(f"  fresh: {shorten(self.fresh) if self.fresh else 'nothing'}")
        if self.error is not None:
            lines.append(
                f"  equal to the 2-D network on single frames to {self.error:.1e} (relative, "
                "features)"
            )
        return "\n".join(lines)


def shorten(names: Iterable[str], most: int = 4) -> str:
    """The first few names and how many there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def recognize(state: State, source: object) -> Kind:
    """Tell by its names where a state dict comes from.

    Raises:
        WeightsError: none of the known kinds; the message lists them.
    """
    if "stem.conv.weight" in state and "head.weight" in state:
        return "ours"
    if "conv1_custom.weight" in state:
        return "published"
    if "conv1.weight" in state and "layer1.0.conv1.weight" in state:
        return "resnet"
    raise WeightsError(
        f"{source}: not a known kind of checkpoint; its entries are {shorten(state) or 'none'}. "
        f"Known: {KNOWN}."
    )


def stage_depths(state: State, prefix: str = "layer") -> tuple[int, ...]:
    """Blocks per stage, counted from names such as layer3.5.conv1.weight."""
    seen: dict[int, set[int]] = {}
    for key in state:
        stage, *rest = key.split(".")
        number = stage.removeprefix(prefix)
        if number != stage and number.isdigit() and rest and rest[0].isdigit():
            seen.setdefault(int(number), set()).add(int(rest[0]))
    return tuple(max(seen[k]) + 1 for k in sorted(seen))


def published_config(state: State, semantics: str, source: object) -> tuple[str, dict[str, Any]]:
    """Name and options for `create_model` of a published network.

    Raises:
        WeightsError: another kind of file, lacking entries, depths nobody published, wrong
            semantics.
    """
    kind = recognize(state, source)
    if kind == "ours":
        raise WeightsError(
            f"{source}: weights of a pseudo3d network without the metadata that says which; build "
            "it with create_model(...), load_state_dict(read_state(path)) and save() it"
        )
    if kind == "resnet":
        raise WeightsError(
            f"{source}: a 2-D network, {resnet_layout(state)}; start a network from it with "
            "pseudo3d.recycle.inflate.inflate(create_model(...), path)"
        )
    if lacking := [k for k in ("fc.weight", "bn1.running_var") if k not in state]:
        raise WeightsError(f"{source}: published P3D network without {', '.join(lacking)}")
    depths = stage_depths(state)
    if depths not in _PUBLISHED:
        known = ", ".join(f"{name} {d}" for d, name in _PUBLISHED.items())
        raise WeightsError(
            f"{source}: names of a published P3D network, but with {depths} blocks per stage. "
            f"Known: {known}."
        )
    if semantics not in ("release", "port"):
        raise WeightsError(
            f"{source}: a published P3D network, semantics={semantics!r}; wanted 'release' or "
            "'port'"
        )
    return _PUBLISHED[depths], {
        "semantics": semantics,
        "in_channels": state["conv1_custom.weight"].shape[1],
        "num_classes": state["fc.weight"].shape[0],
    }


def convert_published(state: State) -> dict[str, Tensor]:
    """Names and shapes of a published P3D checkpoint -> ours; unknown entries keep their names."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        head, _, leaf = key.rpartition(".")
        name = f"{_published_part(head)}.{leaf}"
        out[name] = value[:, :, None] if value.ndim == 4 else value  # stage 4 is stored as 2-D
    return with_counters(out)


def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give every batch norm its counter of batches, which old files lack."""
    for key in [k for k in state if k.endswith(".running_var")]:
        state.setdefault(key.replace("running_var", _TRACKED), torch.tensor(0))
    return state


_PUBLISHED_PARTS = {
    "conv1": "reduce",
    "bn1": "reduce_norm",
    "conv2": "pair.space",
    "bn2": "pair.space_norm",
    "conv3": "pair.time",
    "bn3": "pair.time_norm",
    "conv_normal": "pair.space",
    "bn_normal": "pair.space_norm",
    "conv4": "expand",
    "bn4": "expand_norm",
    "downsample.0": "shortcut.0",
    "downsample.1": "shortcut.1",
}
_OUTER = {"conv1_custom": "stem.conv", "bn1": "stem.norm", "fc": "head"}


def _published_part(name: str) -> str:
    """layer2.0.conv3 -> stages.1.0.pair.time."""
    if name in _OUTER:
        return _OUTER[name]
    stage, _, rest = name.partition(".")
    block, _, part = rest.partition(".")
    number = stage.removeprefix("layer")
    if part not in _PUBLISHED_PARTS or not number.isdigit():
        return name
    return f"stages.{int(number) - 1}.{block}.{_PUBLISHED_PARTS[part]}"


def published_preprocessing(in_channels: int) -> Preprocessing | None:
    """Caffe style, as the authors say: 0..255 minus the mean; None for neither RGB nor flow."""
    if in_channels not in (2, 3):
        return None
    rgb = in_channels == 3
    return Preprocessing(
        frames=16,
        sampling="dense",
        resize=182,
        size=(160, 160),
        color="bgr" if rgb else "flow",
        scale=1.0,
        mean=(104.0, 117.0, 123.0) if rgb else (128.0, 128.0),
        std=(1.0,) * in_channels,
    )


def published_notes(state: State) -> tuple[str, ...]:
    """Doubts about the preprocessing that the weights themselves raise."""
    variance = float(state["bn1.running_var"].float().median())
    if variance >= _BYTE_VARIANCE:
        return ()
    return (
        f"bn1.running_var has median {variance:.2g}: these weights seem to have been trained on "
        "input of order 1 (divided by 255 and by a standard deviation), while the preprocessing "
        "attached is that of the authors (0..255, BGR, mean 104/117/123). If predictions make no "
        "sense, replace card.preprocessing.",
    )


@dataclass(frozen=True, kw_only=True)
class ResNetLayout:
    """What the names and shapes of a 2-D ResNet say."""

    depths: tuple[int, ...]
    block: BlockName
    in_channels: int
    num_classes: int | None  # None: no classifier in the file

    def __str__(self) -> str:
        return describe(self.block, self.depths)


def describe(block: BlockName, depths: tuple[int, ...]) -> str:
    """ResNet-50 (bottleneck blocks 3, 4, 6, 3)."""
    blocks = f"{block} blocks {', '.join(map(str, depths))}"
    name = _RESNETS.get((block, depths))
    return f"{name} ({blocks})" if name else f"a ResNet with {blocks}"


def resnet_layout(state: State) -> ResNetLayout:
    """Depths, block, channels and classes of a state dict under torchvision's names."""
    return ResNetLayout(
        depths=stage_depths(state),
        block="bottleneck" if "layer1.0.conv3.weight" in state else "basic",
        in_channels=state["conv1.weight"].shape[1],
        num_classes=state["fc.weight"].shape[0] if "fc.weight" in state else None,
    )


_RESNET_PARTS: dict[str, dict[str, str]] = {
    "basic": {
        "pair.space": "conv1",
        "pair.space_norm": "bn1",
        "refine": "conv2",
        "refine_norm": "bn2",
    },
    "bottleneck": {
        "reduce": "conv1",
        "reduce_norm": "bn1",
        "pair.space": "conv2",
        "pair.space_norm": "bn2",
        "expand": "conv3",
        "expand_norm": "bn3",
    },
}


def resnet_key(ours: str, block: BlockName) -> str | None:
    """stages.1.0.pair.space.weight -> layer2.0.conv2.weight; None: nothing of a 2-D network."""
    part, _, leaf = ours.rpartition(".")
    outer = {"stem.conv": "conv1", "stem.norm": "bn1", "head": "fc"}
    if part in outer:
        return f"{outer[part]}.{leaf}"
    _, stage, index, rest = part.split(".", 3)
    parts = {
        **_RESNET_PARTS[block],
        "shortcut.0": "downsample.0",
        "shortcut.1": "downsample.1",
    }
    if rest not in parts:
        return None
    return f"layer{int(stage) + 1}.{index}.{parts[rest]}.{leaf}"
