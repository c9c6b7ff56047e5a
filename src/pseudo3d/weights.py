"""Our checkpoint: a safetensors file whose header says what the network is and what it was fed.

Loading never runs code from a file, checks every name and shape, and ends with a self-test: a
seeded clip must give the logits that were noted when the file was written.
"""

import json
import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.models import Network, create_model
from pseudo3d.nn.blocks import Semantics
from pseudo3d.recycle import formats
from pseudo3d.recycle.files import METADATA_KEY, read_file, write_file
from pseudo3d.recycle.files import read_state as read_state
from pseudo3d.recycle.formats import Report, shorten

_FORMAT = 1
_SEED = 20171022
_TOLERANCE = 1e-3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says beside its weights."""

    name: str  # as in `create_model`
    config: dict[str, Any]  # every field of the network's config
    classes: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    task: str = "classify"
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    version: str = ""  # of the package that wrote the file
    self_test: dict[str, Any] | None = None  # seed, shape of the clip, first logits
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As one line of JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.preprocessing is not None:
            plain["preprocessing"] = self.preprocessing.to_dict()
        return json.dumps({"format": _FORMAT, **plain}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Back from `to_json`; lists become tuples again."""
        plain = json.loads(text)
        if plain.pop("format") != _FORMAT:
            raise WeightsError("written by a newer pseudo3d; update with `pip install -U pseudo3d`")
        for key in ("classes", "notes", "config"):
            plain[key] = _tuples(plain[key])
        if plain["preprocessing"] is not None:
            plain["preprocessing"] = Preprocessing.from_dict(plain["preprocessing"])
        return cls(**plain)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def save(
    model: Network,
    path: str | Path,
    *,
    classes: tuple[str, ...] | None = None,
    preprocessing: Preprocessing | None = None,
    training: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> Card:
    """Write a network with all that is needed to use it; the file changes as a whole or not at all.

    Args:
        classes: names of the labels, in the order of the logits.
        training, scores: anything JSON can hold.
    Raises:
        WeightsError: not a network of `create_model`, things that do not fit together, a disk that
            refuses.
    """
    path, name = Path(path), getattr(model, "name", None)
    if not isinstance(model, Network) or not isinstance(name, str):
        raise WeightsError(
            f"{path}: a {type(model).__name__} cannot be saved; wanted a network of create_model()"
        )
    _check_fit(path, model, classes, preprocessing)
    card = Card(
        name=name,
        config=asdict(model.cfg),
        classes=tuple(classes) if classes is not None else None,
        preprocessing=preprocessing,
        training=dict(training or {}),
        scores=dict(scores or {}),
        version=version("pseudo3d"),
        self_test=_self_test(model, path),
    )
    try:
        text = card.to_json()
    except (TypeError, ValueError) as err:
        raise WeightsError(f"{path}: training or scores are no JSON: {err}") from err
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_file(path, tensors_to_bytes(tensors, {METADATA_KEY: text}))
    return card


def _check_fit(
    path: Path, model: Network, classes: tuple[str, ...] | None, pre: Preprocessing | None
) -> None:
    if classes is not None and len(classes) != model.cfg.num_classes:
        raise WeightsError(
            f"{path}: {len(classes)} class names for a network with {model.cfg.num_classes} classes"
        )
    if pre is not None and pre.channels != model.cfg.in_channels:
        raise WeightsError(
            f"{path}: preprocessing gives {pre.channels} channels, the network takes "
            f"{model.cfg.in_channels}"
        )


def _logits(net: Network, seed: int, shape: list[int]) -> Tensor:
    clip = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return net(clip)[0, :16]


def _self_test(model: Network, path: Path) -> dict[str, Any]:
    """Logits of a seeded clip, from a float32 copy on the CPU."""
    net = deepcopy(model).to("cpu", torch.float32).eval()
    shape = [1, model.cfg.in_channels, 8, 64, 64]
    logits = _logits(net, _SEED, shape).tolist()
    if not all(math.isfinite(v) for v in logits):
        raise WeightsError(
            f"{path}: not written, the network's logits are {logits[:3]}: its training diverged. "
            "Lower the learning rate or clip gradients."
        )
    return {"seed": _SEED, "shape": shape, "logits": logits}


def load(
    path: str | Path, *, semantics: Semantics | None = None, num_classes: int | None = None
) -> Network:
    """Build the network a checkpoint describes, in eval mode, with its `card`.

    Reads our files and the published PyTorch P3D networks (recognized by their names).

    Args:
        semantics: for published files: "release" (default; right for weights converted from Caffe)
            or "port" (weights trained with the PyTorch port).
        num_classes: what the caller needs; another count in the file is an error.
    Raises:
        WeightsError: missing, damaged or unknown file, names or shapes that do not fit, a failed
            self-test.
    """
    path = Path(path)
    state, text = read_file(path)
    if text is None:
        net = _build_published(path, state, semantics)
    else:
        net = _build(path, state, text)
        own = getattr(net.cfg, "semantics", None)
        if semantics not in (None, own):
            raise WeightsError(
                f"{path}: trained with semantics={own!r}, asked for {semantics!r}; leave it out"
            )
    if num_classes not in (None, net.cfg.num_classes):
        raise WeightsError(
            f"{path}: the checkpoint has {net.cfg.num_classes} classes, asked for {num_classes}. "
            "To start a network with other classes from it, fine-tune: `p3d train DATA --weights "
            f"{path.name}`, or load_backbone(create_model(..., num_classes={num_classes}), path)."
        )
    for note in net.card.notes:
        _log.warning("%s: %s", path, note)
    return net.eval()


def _build(path: Path, state: dict[str, Tensor], text: str) -> Network:
    try:
        card = Card.from_json(text)
        net = _create(card)
    except Pseudo3dError as err:
        raise WeightsError(f"{path}: {err}") from err
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise WeightsError(f"{path}: metadata cannot be used ({err}); get the file again") from err
    _fill(net, state, path)
    if card.self_test is not None:
        _verify(net.eval(), card.self_test, path)
    return net


def _create(card: Card) -> Network:
    with torch.random.fork_rng(devices=[]):  # building draws numbers, not at the caller's cost
        net = create_model(card.name, **card.config)
    net.card = card
    return net


def _verify(net: Network, test: Mapping[str, Any], path: Path) -> None:
    want = torch.tensor(test["logits"])
    error = float((_logits(net, test["seed"], test["shape"]) - want).norm())
    limit = _TOLERANCE * max(float(want.norm()), 1e-6)
    if not error <= limit:
        raise WeightsError(
            f"{path}: self-test failed, logits of the seeded clip differ by {error:.2g} where "
            f"{limit:.2g} is allowed; the weights were altered or this version computes something "
            "else. Get the file again, or use the version that wrote it "
            f"({net.card.version})."
        )


def _build_published(path: Path, state: dict[str, Tensor], semantics: str | None) -> Network:
    name, config = formats.published_config(state, semantics or "release", path)
    card = Card(
        name=name,
        config=config,
        preprocessing=formats.published_preprocessing(config["in_channels"]),
        notes=formats.published_notes(state),
    )
    net = _create(card)
    _fill(net, formats.convert_published(state), path)
    return net


def _fill(net: Network, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a state dict into a network after comparing every name and shape."""
    ours = net.state_dict()
    reshaped = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}"
        for k, v in ours.items()
        if k in state and state[k].shape != v.shape
    ]
    problems = {
        "missing": [k for k in ours if k not in state],
        "extra": [k for k in state if k not in ours],
        "reshaped": reshaped,
    }
    told = [f"{len(v)} {what}: {shorten(v)}" for what, v in problems.items() if v]
    if told:
        raise WeightsError(
            f"{path}: does not fit {net.name}; {'; '.join(told)}. Nothing was loaded."
        )
    net.load_state_dict(state)


def load_backbone(
    net: Network, path: str | Path, *, classes: tuple[str, ...] | None = None
) -> Report:
    """Start `net` from a checkpoint of the same architecture; the head only if the classes agree.

    Args:
        classes: names of the labels `net` is to learn; without them the numbers of classes are
            compared.
    Raises:
        WeightsError: as `load`, or another architecture; the message names the fields that differ.
    """
    path = Path(path)
    text = read_file(path)[1]
    semantics = getattr(net.cfg, "semantics", None)
    source = load(path, semantics=semantics if text is None else None)
    theirs, ours = asdict(source.cfg), asdict(net.cfg)
    free = ("num_classes", "dropout")
    differ = [
        f"{k} {theirs.get(k)!r} there, {ours.get(k)!r} here"
        for k in {**ours, **theirs}
        if k not in free and theirs.get(k) != ours.get(k)
    ]
    if differ:
        raise WeightsError(
            f"{path}: a {source.name} that is another network than this {net.name}: "
            f"{'; '.join(differ)}. Build the network with the same options."
        )
    keep_head = source.cfg.num_classes == net.cfg.num_classes
    if classes is not None and source.card.classes is not None:
        keep_head = keep_head and tuple(classes) == source.card.classes
    state = {k: v for k, v in source.state_dict().items() if keep_head or not k.startswith("head.")}
    net.load_state_dict(state, strict=keep_head)
    fresh = tuple(k for k in net.state_dict() if k not in state)
    return Report(source=f"{path} ({source.name})", loaded=tuple(state), fresh=fresh)
