"""The authors' P3D release under the names of its prototxt: LAYER.I, the I-th blob of a layer.

`read_state` gives these names for a .caffemodel; a dict or .npz may write LAYER/I as well.
"""

import re

from torch import Tensor

from pseudo3d.recycle.foreign.kinds import (
    Choices,
    Foreign,
    State,
    refuse_semantics,
    require_entries,
    stage_depths,
    with_counters,
)
from pseudo3d.recycle.foreign.names_p3d import caffe_preprocessing, deep, network_of

_BLOB = re.compile(r"^(?P<layer>.+)[./](?P<blob>\d+)$")
_LAYER = re.compile(r"^(?:res|bn)(?P<stage>[2-5])(?P<block>[a-z]\d*)_branch(?P<part>\w+)$")
_BRANCHES = {"1": "shortcut.0", "2a": "reduce", "2b": "pair.space", "2b_t": "pair.time"}
_BRANCHES["2c"] = "expand"
_BN_BLOBS = ("weight", "bias", "running_mean", "running_var")  # of the release's BN layer


def is_caffe(state: State) -> bool:
    """Layers are named as in He's prototxts."""
    return any(key.startswith("res2a_branch2a") for key in state)


def read_caffe(state: State, choices: Choices) -> Foreign:
    """The authors' release, by the names of its prototxt and the numbers of its blobs."""
    told = "P3D network of the Caffe release"
    refuse_semantics(choices, f"a {told}", "release", "port")
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        ours[_caffe_name(key)] = _caffe_value(key, value)
    require_entries(ours, ("stem.conv.weight", "head.weight"), told, choices.source)
    ours, reshaped = deep(with_counters(ours))
    depths = stage_depths({k.replace("stages.", "stage", 1): v for k, v in ours.items()}, "stage")
    channels, classes = ours["stem.conv.weight"].shape[1], ours["head.weight"].shape[0]
    name = network_of(depths, told, choices.source)
    return Foreign(
        told=f"{name} of the authors' Caffe release",
        model=name,
        config={
            "semantics": choices.semantics or "release",
            "in_channels": channels,
            "num_classes": classes,
        },
        state=ours,
        reshaped=reshaped,
        preprocessing=caffe_preprocessing(channels),
    )


def _caffe_value(key: str, value: Tensor) -> Tensor:
    """Caffe keeps empty axes in front of vectors, and of matrices in its older files."""
    if key.startswith("bn"):
        return value.flatten()
    if key.startswith("fc"):
        return value.flatten() if key.endswith("1") else value.reshape(-1, value.shape[-1])
    return value


def _caffe_name(key: str) -> str:
    """res3b2_branch2b_t.0 -> stages.1.2.pair.time.weight; an unknown name stays as it is."""
    found = _BLOB.match(key)
    if found is None:
        return key
    layer, blob = found["layer"], int(found["blob"])
    norm = layer.startswith("bn")
    leaves = _BN_BLOBS if norm else ("weight", "bias")
    if blob >= len(leaves):
        return key
    if layer in ("conv1", "bn_conv1") or layer.startswith("fc"):
        part = {"conv1": "stem.conv", "bn_conv1": "stem.norm"}.get(layer, "head")
        return f"{part}.{leaves[blob]}"
    where = _LAYER.match(layer)
    if where is None or where["part"] not in _BRANCHES:
        return key
    letter, number = where["block"][0], where["block"][1:]
    block = int(number) if number else ord(letter) - ord("a")  # a, b1, b2 .. or a, b, c
    part = _BRANCHES[where["part"]]
    if norm:
        part = "shortcut.1" if part == "shortcut.0" else f"{part}_norm"
    return f"stages.{int(where['stage']) - 2}.{block}.{part}.{leaves[blob]}"
