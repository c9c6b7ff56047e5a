"""Checkpoints of other projects, recognized by the names of their entries and put under ours."""

from typing import Any

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.foreign import names_caffe, names_p3d, names_resnet, names_volume
from pseudo3d.recycle.foreign.kinds import Choices, Foreign, Format, Kind, State, shorten
from pseudo3d.recycle.foreign.kinds import Report as Report

FORMATS = (
    Format(
        kind="published",
        told="published PyTorch P3D networks (conv1_custom, layer1.0.conv1 .. conv4, "
        "layer4.0.conv_normal, fc)",
        fits=names_p3d.is_published,
        read=names_p3d.read_published,
    ),
    Format(
        kind="caffe",
        told="the authors' Caffe P3D networks (conv1, res2a_branch2a, fc_kinetics, each with the "
        "number of its blob)",
        fits=names_caffe.is_caffe,
        read=names_caffe.read_caffe,
    ),
    Format(
        kind="gluon",
        told="GluonCV's P3D networks (layer1.0.conv_temporal)",
        fits=names_p3d.is_gluon,
        read=names_p3d.read_gluon,
    ),
    Format(
        kind="author2021",
        told="P3D networks of the author's code of 2021 (layer1.0.conv2_t)",
        fits=names_p3d.is_author,
        read=names_p3d.read_author,
    ),
    Format(
        kind="video",
        told="video ResNets under torchvision's names (stem.0, layer1.0.conv1.0, fc)",
        fits=names_volume.is_video,
        read=names_volume.read_video,
    ),
    Format(
        kind="resnet3d",
        told="3-D ResNets of Hara, MedicalNet, MONAI (5-D conv1, layer1.0.conv1)",
        fits=names_volume.is_resnet3d,
        read=names_volume.read_resnet3d,
    ),
    Format(
        kind="c3d",
        told="C3D (conv3b, fc6, fc8)",
        fits=names_volume.is_c3d,
        read=names_volume.read_c3d,
    ),
    Format(
        kind="tsm",
        told="TSN and TSM networks (base_model.conv1, new_fc)",
        fits=names_resnet.is_segments,
        read=names_resnet.read_segments,
    ),
    Format(
        kind="resnet",
        told="2-D ResNets under torchvision's names (conv1, layer1.0.conv1, fc)",
        fits=names_resnet.is_resnet,
        read=names_resnet.read_resnet,
    ),
)
KNOWN = "checkpoints of pseudo3d (safetensors with metadata); " + "; ".join(f.told for f in FORMATS)
_BY_KIND = {f.kind: f for f in FORMATS}


def recognize(state: State, source: object) -> Kind:
    """Tell by its names where a state dict comes from.

    Raises:
        WeightsError: none of the known kinds; the message lists them.
    """
    if "head.weight" in state and any(key.startswith("stages.0.") for key in state):
        return "ours"
    for known in FORMATS:
        if known.fits(state):
            return known.kind
    raise WeightsError(
        f"{source}: not a known kind of checkpoint; its entries are {shorten(state) or 'none'}. "
        f"Known: {KNOWN}."
    )


def understand(state: State, choices: Choices) -> Foreign:
    """Which network of ours a foreign state dict is, and its entries under our names.

    Raises:
        WeightsError: an unknown kind, a network we do not have, lacking entries, a choice that
            these weights do not leave.
    """
    kind = recognize(state, choices.source)
    if kind == "ours":
        raise WeightsError(
            f"{choices.source}: weights of a pseudo3d network without the metadata that says "
            "which; build it with create_model(...), load_state_dict(read_state(path)) and "
            "save() it"
        )
    try:
        return _BY_KIND[kind].read(state, choices)
    except (KeyError, IndexError) as err:
        raise WeightsError(
            f"{choices.source}: the names are those of {kind} weights, but an entry is missing or "
            f"has another shape: {err}"
        ) from err


def as_in(state: State, cfg: Any, source: object) -> tuple[str | None, int | None]:
    """What foreign weights leave open, as a config has it: semantics, size of a fresh classifier.

    Raises:
        WeightsError: an unknown kind.
    """
    kind = recognize(state, source)
    semantics = None
    if kind in ("published", "caffe"):
        semantics = getattr(cfg, "semantics", None)
    elif kind == "resnet3d":
        semantics = names_volume.form_of(cfg)
    return semantics, None if has_head(state) else cfg.num_classes


def has_head(state: State) -> bool:
    """Whether a classifier is among the entries."""
    heads = ("fc", "new_fc", "fc8", "head")
    return any(k.partition(".")[0] in heads or k.startswith("fc_") for k in state)
