"""2-D ResNets under torchvision's names, and the TSN and TSM networks made of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.foreign.kinds import (
    BlockName,
    Choices,
    Foreign,
    Names,
    State,
    classifier,
    deepened,
    imagenet,
    refuse_semantics,
    require_entries,
    stage_depths,
)

_RESNETS: dict[tuple[BlockName, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "ResNet-18",
    ("basic", (3, 4, 6, 3)): "ResNet-34",
    ("bottleneck", (3, 4, 6, 3)): "ResNet-50",
    ("bottleneck", (3, 4, 23, 3)): "ResNet-101",
    ("bottleneck", (3, 8, 36, 3)): "ResNet-152",
}
_OUTER = {"stem.conv": "conv1", "stem.norm": "bn1", "head": "fc"}
_SHORTCUT = {"shortcut.0": "downsample.0", "shortcut.1": "downsample.1"}
_BLOCK_UNITS: dict[BlockName, tuple[str, ...]] = {
    "basic": ("first", "second"),
    "bottleneck": ("reduce", "middle", "expand"),
}
_PARTS: dict[BlockName, dict[str, str]] = {
    "basic": {
        "pair.space": "conv1",
        "pair.space_norm": "bn1",
        "refine": "conv2",
        "refine_norm": "bn2",
        **_SHORTCUT,
    },
    "bottleneck": {
        "reduce": "conv1",
        "reduce_norm": "bn1",
        "pair.space": "conv2",
        "pair.space_norm": "bn2",
        "expand": "conv3",
        "expand_norm": "bn3",
        **_SHORTCUT,
    },
}
# The same parts in the blocks of ResNet3d.
_UNITS: dict[BlockName, dict[str, str]] = {
    block: {
        f"{unit}.{leaf}": f"{theirs}{number}"
        for number, unit in enumerate(units, 1)
        for leaf, theirs in (("conv", "conv"), ("norm", "bn"))
    }
    for block, units in _BLOCK_UNITS.items()
}


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


def resnet_key(ours: str, block: BlockName) -> str | None:
    """stages.1.0.pair.space.weight -> layer2.0.conv2.weight; None: nothing of a 2-D network."""
    part, _, leaf = ours.rpartition(".")
    if part in _OUTER:
        return f"{_OUTER[part]}.{leaf}"
    _, stage, index, rest = part.split(".", 3)
    parts = {**_PARTS[block], **_UNITS[block]}
    if rest not in parts:
        return None
    return f"layer{int(stage) + 1}.{index}.{parts[rest]}.{leaf}"


def is_resnet(state: State) -> bool:
    """torchvision's names with 4-D kernels."""
    return (
        "layer1.0.conv1.weight" in state
        and "conv1.weight" in state
        and state["conv1.weight"].ndim == 4
    )


def read_resnet(state: State, choices: Choices) -> Foreign:
    """A 2-D ResNet as the network that applies it to every frame."""
    return _read(state, choices, "2-D ResNet", "resnet")


def is_segments(state: State) -> bool:
    """TSN's and TSM's repositories put the ResNet under base_model."""
    return "base_model.conv1.weight" in state


def read_segments(state: State, choices: Choices) -> Foreign:
    """A published TSN or TSM network: shifted convolutions sit under `.net`."""
    shifted = any(".net." in key for key in state)
    flat: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("base_model.").replace(".net.", ".")
        flat[name.replace("new_fc.", "fc.", 1)] = value
    told, family = ("published TSM network", "tsm") if shifted else ("published TSN", "tsn")
    return _read(flat, choices, told, family)


def _read(state: State, choices: Choices, told: str, family: str) -> Foreign:
    refuse_semantics(choices, f"a {told}")
    layout = resnet_layout(state)
    name = _RESNETS.get((layout.block, layout.depths), "").replace("ResNet-", family)
    other = _other_form(state, layout.block) if name else "of other depths"
    if other is not None:
        raise WeightsError(
            f"{choices.source}: {layout}, {other}; load reads {', '.join(_RESNETS.values())} of "
            "the usual widths. A P3D of any depths can be started from a ResNet by "
            "pseudo3d.recycle.inflate.inflate, other networks by pseudo3d.convert"
        )
    require_entries(state, ("bn1.running_var",), told, choices.source)
    classes, headless = classifier(state, choices, told)
    names = Names(
        outer={theirs: ours for ours, theirs in _OUTER.items()},
        inner={theirs: ours for ours, theirs in _PARTS[layout.block].items()},
    )
    ours, count = deepened(names.apply(state), _kernels(names, state))
    return Foreign(
        told=f"{layout}, {told}",
        model=name,
        config={"in_channels": layout.in_channels, "num_classes": classes},
        state=ours,
        reshaped=(f"{count} kernels k x k to 1 x k x k",),
        headless=headless,
        preprocessing=imagenet(frames=16 if family == "resnet" else 8)
        if layout.in_channels == 3
        else None,
    )


def _kernels(names: Names, state: Mapping[str, Tensor]) -> list[str]:
    return [names.of(key) for key, value in state.items() if value.ndim == 4]


def _other_form(state: State, block: BlockName) -> str | None:
    """What of a checkpoint the plain ResNets lack."""
    first, second = state["layer1.0.conv1.weight"], state["layer1.0.conv2.weight"]
    if second.shape[1] != first.shape[0]:
        return f"with grouped convolutions ({first.shape[0] // second.shape[1]} groups, a ResNeXt)"
    if block == "bottleneck" and state["layer1.0.conv3.weight"].shape[0] != 4 * first.shape[0]:
        return f"with blocks {first.shape[0]} wide (a wide ResNet)"
    return None
