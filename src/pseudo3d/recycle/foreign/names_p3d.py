"""Published P3D networks under the names of three PyTorch-like projects.

The common PyTorch port (qijiezhao, "P3D63", "P3D131", "P3D199"), the GluonCV model zoo, and the
first author's PyTorch of 2021. The authors' Caffe release: names_caffe.
"""

from typing import Any

from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.recycle.foreign.kinds import (
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

_NETWORKS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "p3d50",
    (3, 4, 23, 3): "p3d101",
    (3, 8, 36, 3): "p3d152",
}
_OUTER = {"conv1": "stem.conv", "bn1": "stem.norm", "fc": "head"}
_SHORTCUT = {"downsample.0": "shortcut.0", "downsample.1": "shortcut.1"}
_REDUCE = {"conv1": "reduce", "bn1": "reduce_norm"}
_PORT = Names(
    outer={"conv1_custom": "stem.conv", "bn1": "stem.norm", "fc": "head"},
    inner={
        **_REDUCE,
        "conv2": "pair.space",
        "bn2": "pair.space_norm",
        "conv3": "pair.time",
        "bn3": "pair.time_norm",
        "conv_normal": "pair.space",
        "bn_normal": "pair.space_norm",
        "conv4": "expand",
        "bn4": "expand_norm",
        **_SHORTCUT,
    },
)
_GLUON = Names(
    outer=_OUTER,
    inner={
        **_REDUCE,
        "conv2": "pair.space",
        "bn2": "pair.space_norm",
        "conv_temporal": "pair.time",
        "bn_temporal": "pair.time_norm",
        "conv3": "expand",
        "bn3": "expand_norm",
        **_SHORTCUT,
    },
    leaves={"gamma": "weight", "beta": "bias"},
)
_AUTHOR = Names(
    outer=_OUTER,
    inner={
        **_REDUCE,
        "conv2": "pair.space",
        "conv2_t": "pair.time",
        "bn2": "pair.space_norm",
        "conv3": "expand",
        "bn3": "expand_norm",
        **_SHORTCUT,
    },
)


def network_of(depths: tuple[int, ...], told: str, source: str) -> str:
    if depths in _NETWORKS:
        return _NETWORKS[depths]
    known = ", ".join(f"{name} {d}" for d, name in _NETWORKS.items())
    raise WeightsError(
        f"{source}: names of a {told}, but with {depths} blocks per stage. Known: {known}."
    )


def deep(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The last stage is stored as 2-D convolutions."""
    kernels = [k for k in state if k.startswith(("stages.", "stem.")) and k.endswith(".weight")]
    state, count = deepened(state, kernels)
    return state, (f"{count} kernels k x k to 1 x k x k",) if count else ()


def is_published(state: State) -> bool:
    """The port's stem has a name nobody else uses."""
    return "conv1_custom.weight" in state


def read_published(state: State, choices: Choices) -> Foreign:
    """The port's layout: weights converted from Caffe (release) or trained with it (port)."""
    told = "published P3D network"
    require_entries(state, ("fc.weight", "bn1.running_var"), told, choices.source)
    name = network_of(stage_depths(state), told, choices.source)
    refuse_semantics(choices, f"a {told}", "release", "port")
    classes = state["fc.weight"].shape[0]
    own = classes == 600  # the Kinetics-600 weights were trained by the port's author, with it
    config: dict[str, Any] = {
        "semantics": choices.semantics or ("port" if own else "release"),
        "in_channels": state["conv1_custom.weight"].shape[1],
        "num_classes": classes,
    }
    ours, reshaped = deep(_PORT.apply(state))
    return Foreign(
        told=f"{name} in the layout of the PyTorch port",
        model=name,
        config=config,
        state=ours,
        reshaped=reshaped,
        preprocessing=imagenet() if own else caffe_preprocessing(config["in_channels"]),
    )


def caffe_preprocessing(in_channels: int) -> Preprocessing | None:
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


def is_gluon(state: State) -> bool:
    """GluonCV calls the temporal convolution by its name."""
    return "layer1.0.conv_temporal.weight" in state


def read_gluon(state: State, choices: Choices) -> Foreign:
    """GluonCV's P3D: the port's network, trained from scratch on ImageNet's scale."""
    told = "P3D network of GluonCV"
    refuse_semantics(choices, f"a {told}", "port")
    require_entries(state, ("fc.weight", "conv1.weight"), told, choices.source)
    name = network_of(stage_depths(state), told, choices.source)
    ours, reshaped = deep(_GLUON.apply(state))
    classes = state["fc.weight"].shape[0]
    pre = imagenet()
    return Foreign(
        told=f"{name} of GluonCV",
        model=name,
        config={
            "semantics": "port",
            "in_channels": state["conv1.weight"].shape[1],
            "num_classes": classes,
        },
        state=ours,
        reshaped=reshaped,
        preprocessing=Preprocessing(**{**vars(pre), "sampling": "dense", "step": 2}),
    )


def is_author(state: State) -> bool:
    """The author's code of 2021 gives each spatial convolution a temporal twin."""
    return "layer1.0.conv2_t.weight" in state


def read_author(state: State, choices: Choices) -> Foreign:
    """The first author's PyTorch of 2021 (Optimization-Planning-for-3D-ConvNets)."""
    told = "P3D network of the author's code of 2021"
    refuse_semantics(choices, f"a {told}", "modern")
    require_entries(state, ("conv1.weight", "bn1.running_var"), told, choices.source)
    if other := _other_form(state):
        raise WeightsError(
            f"{choices.source}: {told} with {other}, which our networks do not have; read are the "
            "plain bottleneck networks (50, 101 and 152 layers)"
        )
    name = network_of(stage_depths(state), told, choices.source)
    classes, headless = classifier(state, choices, told)
    length = state["conv1.weight"].shape[2]
    return Foreign(
        told=f"{name} of the author's code of 2021",
        model=name,
        config={
            "semantics": "modern",
            "stem_kernel": (length, 7, 7),
            "stem_stride": (length, 2, 2),
            "in_channels": state["conv1.weight"].shape[1],
            "num_classes": classes,
        },
        state=_AUTHOR.apply(state),
        headless=headless,
        preprocessing=Preprocessing(
            **{**vars(imagenet()), "sampling": "dense", "size": (256, 256)}
        ),
    )


def _other_form(state: State) -> str | None:
    """What of a checkpoint the plain bottleneck networks lack."""
    if "layer1.0.conv1_t.weight" in state:
        return "basic blocks (two temporal convolutions each)"
    if "conv2.weight" in state:
        return "a deep stem"
    if any(".fc1." in key for key in state):
        return "the global context of DG-P3D"
    reduce, space = state["layer1.0.conv1.weight"], state["layer1.0.conv2.weight"]
    if space.shape[1] != reduce.shape[0]:
        return "grouped convolutions"
    return None
