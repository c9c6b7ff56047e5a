"""3-D networks: torchvision's video ResNets, Hara's 3-D ResNets with MedicalNet's and MONAI's, C3D.

What the weights do not say (strides and dilations of the 3-D ResNets) is a choice of semantics.
"""

from typing import Any

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.recycle.foreign.kinds import (
    BlockName,
    Choices,
    Foreign,
    Names,
    State,
    classifier,
    refuse_semantics,
    require_entries,
    stage_depths,
)

_SHORTCUT = {"downsample.0": "shortcut.0", "downsample.1": "shortcut.1"}

# torchvision: r3d_18, mc3_18, r2plus1d_18, and what others trained under these names

_VIDEO: dict[tuple[str, BlockName, tuple[int, ...]], str] = {
    ("r3d", "basic", (2, 2, 2, 2)): "r3d18",
    ("r3d", "basic", (3, 4, 6, 3)): "r3d34",
    ("r3d", "bottleneck", (3, 4, 6, 3)): "r3d50",
    ("mc3", "basic", (2, 2, 2, 2)): "mc3_18",
    ("r2plus1d", "basic", (2, 2, 2, 2)): "r2plus1d18",
    ("r2plus1d", "basic", (3, 4, 6, 3)): "r2plus1d34",
}


def is_video(state: State) -> bool:
    """Stem and convolutions are sequences, so their names end in numbers."""
    return "stem.0.weight" in state and any(k.startswith("layer1.0.conv1.0.") for k in state)


def read_video(state: State, choices: Choices) -> Foreign:
    """A 3-D ResNet under torchvision's names; kernels tell R3D, MC3 and R(2+1)D apart."""
    told = "3-D ResNet under torchvision's names"
    refuse_semantics(choices, f"a {told}")
    block: BlockName = "bottleneck" if "layer1.0.conv3.0.weight" in state else "basic"
    large = 1 if block == "basic" else 2  # which convolution of a block is not 1 x 1 x 1
    pair = f"layer1.0.conv{large}.0.3.weight" in state
    last = f"layer4.0.conv{large}.0.weight"
    form = "r2plus1d" if pair else "mc3" if state[last].shape[2] == 1 else "r3d"
    depths = stage_depths(state)
    if (form, block, depths) not in _VIDEO:
        raise WeightsError(
            f"{choices.source}: a {told}, {form} with {block} blocks {depths}. Known: "
            f"{', '.join(_VIDEO.values())}."
        )
    name = _VIDEO[form, block, depths]
    classes, headless = classifier(state, choices, told)
    return Foreign(
        told=f"{name} under torchvision's names",
        model=name,
        config={"in_channels": state["stem.0.weight"].shape[1], "num_classes": classes},
        state=_video_names(block, pair).apply(state),
        headless=headless,
        preprocessing=kinetics_preprocessing(),
    )


def _video_names(block: BlockName, pair: bool) -> Names:
    units = ("first", "second") if block == "basic" else ("reduce", "middle", "expand")
    inner = dict(_SHORTCUT)
    for number, unit in enumerate(units, 1):
        conv = f"conv{number}"
        inner |= {f"{conv}.0": f"{unit}.conv", f"{conv}.1": f"{unit}.norm"}
        if pair:
            inner |= {
                f"{conv}.0.0": f"{unit}.space",
                f"{conv}.0.1": f"{unit}.space_norm",
                f"{conv}.0.3": f"{unit}.time",
            }
    stem = {"stem.0": "stem.conv", "stem.1": "stem.norm"}
    if pair:
        stem = {
            "stem.0": "stem.space",
            "stem.1": "stem.space_norm",
            "stem.3": "stem.time",
            "stem.4": "stem.norm",
        }
    return Names(outer={**stem, "fc": "head"}, inner=inner)


def kinetics_preprocessing() -> Preprocessing:
    """torchvision's for its video ResNets; its 128 x 171 pixels are 128 on the shorter side."""
    return Preprocessing(
        frames=16,
        sampling="dense",
        fps=15.0,
        resize=128,
        size=(112, 112),
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
    )


# Hara's 3-D ResNets: Kinetics (RGB), MedicalNet (one channel, dilated), MONAI

_FORMS: dict[str, dict[str, Any]] = {
    "medicalnet": {
        "stem_stride": (2, 2, 2),
        "strides": (1, 2, 1, 1),
        "time_strides": (1, 2, 1, 1),
        "dilations": (1, 1, 2, 4),
    },
    "monai": {
        "stem_stride": (1, 1, 1),
        "strides": (1, 2, 2, 2),
        "time_strides": (1, 2, 2, 2),
    },
    "hara": {
        "stem_stride": (1, 2, 2),
        "strides": (1, 2, 2, 2),
        "time_strides": (1, 2, 2, 2),
    },
}
_BASE: dict[BlockName, str] = {"basic": "r3d18", "bottleneck": "r3d50"}
_LAYERS: dict[tuple[BlockName, tuple[int, ...]], int] = {
    ("basic", (1, 1, 1, 1)): 10,
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
    ("bottleneck", (3, 24, 36, 3)): 200,
}
_OTHER_HEADS = ("conv_seg.", "classifier.", "global_pool.")  # MedicalNet's segmentation


def form_of(cfg: Any) -> str | None:
    """Which of the forms a network's config is."""
    for name, options in _FORMS.items():
        if all(getattr(cfg, key, None) == value for key, value in options.items()):
            return name
    return None


def is_resnet3d(state: State) -> bool:
    """A 2-D ResNet's names with 5-D kernels."""
    return (
        "layer1.0.conv1.weight" in state
        and "conv1.weight" in state
        and state["conv1.weight"].ndim == 5
    )


def read_resnet3d(state: State, choices: Choices) -> Foreign:
    """A 3-D ResNet of Hara, MedicalNet or MONAI; depth, shortcut and bias come from the names.

    The same weights serve networks of other strides: semantics "medicalnet" (strides 2, 2, 1, 1,
    dilated), "monai" (its default, stem of stride 1), "hara" (Kinetics). With one input channel
    "medicalnet" is taken unless another is named.
    """
    told = "3-D ResNet of MedicalNet's kind"
    channels = state["conv1.weight"].shape[1]
    first = ("medicalnet", "monai", "hara") if channels == 1 else ("hara", "medicalnet", "monai")
    refuse_semantics(choices, f"a {told}", *first)
    form = choices.semantics or first[0]
    block: BlockName = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    depths = stage_depths(state)
    if (block, depths) not in _LAYERS:
        raise WeightsError(
            f"{choices.source}: a {told}, {block} blocks {depths}. Known: "
            f"{', '.join(f'{n} layers {d}' for (_, d), n in _LAYERS.items())}."
        )
    dropped = tuple(k for k in state if k.startswith(_OTHER_HEADS))
    kept = {k: v for k, v in state.items() if k not in dropped}
    classes, headless = classifier(kept, choices, told)
    read_off = _hara_config(kept)
    shortcut = f"shortcut {read_off['shortcut']}{', biased' * read_off['shortcut_bias']}"
    note = (f"strides and dilations are no part of the weights; taken from {form}",)
    return Foreign(
        told=f"3-D ResNet-{_LAYERS[block, depths]}, {shortcut}, as in {form}",
        model=_BASE[block],
        config={"depths": depths, "num_classes": classes, **read_off, **_FORMS[form]},
        state=_hara_names(block).apply(kept),
        dropped=dropped,
        headless=headless,
        preprocessing=_hara_preprocessing() if channels == 3 else None,
        notes=note if choices.semantics is None else (),
    )


def _hara_config(state: State) -> dict[str, Any]:
    """What the names and shapes of a 3-D ResNet say about it."""
    stem = state["conv1.weight"]
    return {
        "in_channels": stem.shape[1],
        "stem_kernel": tuple(stem.shape[2:]),
        "stem_pool": "pad3d",
        "shortcut": "B" if any(".downsample.0.weight" in k for k in state) else "A",
        "shortcut_bias": any(k.endswith(".downsample.0.bias") for k in state),
    }


def _hara_names(block: BlockName) -> Names:
    units = ("first", "second") if block == "basic" else ("reduce", "middle", "expand")
    inner = dict(_SHORTCUT)
    for number, unit in enumerate(units, 1):
        inner |= {f"conv{number}": f"{unit}.conv", f"bn{number}": f"{unit}.norm"}
    return Names(outer={"conv1": "stem.conv", "bn1": "stem.norm", "fc": "head"}, inner=inner)


def _hara_preprocessing() -> Preprocessing:
    """16 frames of 112 x 112, mean and deviation of Kinetics as in Hara's code."""
    return Preprocessing(
        frames=16,
        sampling="dense",
        resize=112,
        size=(112, 112),
        mean=(0.4345, 0.4051, 0.3775),
        std=(0.2768, 0.2713, 0.2737),
    )


# C3D

_C3D = {
    "conv1": "stem.conv",
    "conv2": "stages.0.conv2a",
    "conv3a": "stages.1.conv3a",
    "conv3b": "stages.1.conv3b",
    "conv4a": "stages.2.conv4a",
    "conv4b": "stages.2.conv4b",
    "conv5a": "stages.3.conv5a",
    "conv5b": "stages.3.conv5b",
    "fc6": "stages.4.fc6",
    "fc7": "stages.4.fc7",
    "fc8": "head",
}


def is_c3d(state: State) -> bool:
    """The eight convolutions have names of their own."""
    return "conv3b.weight" in state and "fc6.weight" in state


def read_c3d(state: State, choices: Choices) -> Foreign:
    """C3D under the names of its PyTorch ports; fc6 and fc7 become convolutions."""
    told = "C3D"
    refuse_semantics(choices, told)
    require_entries(state, [f"{name}.weight" for name in _C3D], told, choices.source)
    ours = dict(state)
    for theirs, name in _C3D.items():
        for leaf in ("weight", "bias"):
            if (value := ours.pop(f"{theirs}.{leaf}", None)) is not None:
                ours[f"{name}.{leaf}"] = value
    fc6, fc7 = "stages.4.fc6.weight", "stages.4.fc7.weight"
    cells = ours[fc6].numel() // (ours[fc6].shape[0] * ours["stages.3.conv5b.weight"].shape[0])
    side = round(cells**0.5)
    ours[fc6] = ours[fc6].reshape(ours[fc6].shape[0], -1, 1, side, side)
    ours[fc7] = ours[fc7].reshape(*ours[fc7].shape[:2], 1, 1, 1)
    classes = ours["head.weight"].shape[0]
    return Foreign(
        told="C3D",
        model="c3d",
        config={"in_channels": ours["stem.conv.weight"].shape[1], "num_classes": classes},
        state=ours,
        reshaped=("fc6 and fc7 from matrices to kernels",),
        notes=(
            "C3D takes 16 BGR frames of 112 x 112 less a mean clip, which is no part of the "
            "weights: preprocessing is left to you",
        ),
    )
