"""Our checkpoint: a safetensors file whose header says what the network is and what it was fed.

Loading never runs code from a file, checks every name and shape, and ends with a self-test: a
seeded clip must give the logits that were noted when the file was written.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.models import Network, create_model
from pseudo3d.recycle.card import Card as Card
from pseudo3d.recycle.card import foreign_card
from pseudo3d.recycle.files import METADATA_KEY, read_file, write_file
from pseudo3d.recycle.files import read_state as read_state
from pseudo3d.recycle.fit import check_fit, classes_fit, input_fits, misfits
from pseudo3d.recycle.foreign.formats import as_in, understand
from pseudo3d.recycle.foreign.kinds import Choices, Foreign, Report
from pseudo3d.recycle.published import catalog
from pseudo3d.recycle.scale import input_scale
from pseudo3d.recycle.seal import sealed
from pseudo3d.recycle.selftest import seeded_answer
from pseudo3d.recycle.sound import check_sound

_SEED = 20171022
_TOLERANCE = 1e-3
_log = logging.getLogger(__name__)


def save(
    model: Network,
    path: str | Path,
    *,
    classes: tuple[str, ...] | None = None,
    preprocessing: Preprocessing | ScanPreprocessing | None = None,
    training: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> Card:
    """Write a network with all that is needed to use it; the file changes as a whole or not at all.

    What is not given is taken from `model.card` where it fits the network; scores only where the
    weights are still those that had them.

    Args:
        classes: names of the labels, in the order of the logits.
        training, scores: anything JSON can hold.
    Raises:
        WeightsError: not a network of `create_model` or one with layers of other sizes, things that
            do not fit together, a disk that refuses.
    """
    path, name = Path(path), getattr(model, "name", None)
    if not isinstance(model, Network) or not isinstance(name, str):
        raise WeightsError(
            f"{path}: a {type(model).__name__} cannot be saved; wanted a network of create_model()"
        )
    check_fit(path, model, classes, preprocessing)
    self_test = _self_test(model, path)
    before = model.card or Card(name=name, config={})
    if classes is None and classes_fit(model, before.classes):
        classes = before.classes
    if preprocessing is None and input_fits(model, before.preprocessing):
        preprocessing = before.preprocessing
    if scores is None and before.self_test == self_test:
        scores = before.scores
    card = Card(
        name=name,
        config=asdict(model.cfg),
        classes=tuple(classes) if classes is not None else None,
        preprocessing=preprocessing,
        training=dict(before.training if training is None else training),
        scores=dict(scores or {}),
        version=version("pseudo3d"),
        self_test=self_test,
    )
    try:
        text = card.to_json()
    except (TypeError, ValueError) as err:
        raise WeightsError(f"{path}: training or scores are no JSON: {err}") from err
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_file(path, sealed(tensors, {METADATA_KEY: text}))
    return card


def _logits(net: Network, seed: int, shape: list[int]) -> Tensor:
    answer: Tensor = seeded_answer(net, seed, shape)
    return answer[0].flatten()[:16]  # a mask's are voxels of its first label


def _self_test(model: Network, path: Path) -> dict[str, Any]:
    """Logits of a seeded clip."""
    shape = [1, model.cfg.in_channels, 8, 64, 64]
    logits = _logits(model, _SEED, shape).tolist()
    if not all(math.isfinite(v) for v in logits):
        raise WeightsError(
            f"{path}: not written, the network's logits are {logits[:3]}: its training diverged. "
            "Lower the learning rate or clip gradients."
        )
    return {"seed": _SEED, "shape": shape, "logits": logits}


def load(
    path: str | Path, *, semantics: str | None = None, num_classes: int | None = None
) -> Network:
    """Build the network a checkpoint describes, in eval mode, with its `card`.

    Reads our files and those of other projects, which are recognized by the names of their entries
    (`recycle.foreign.formats.FORMATS`). What became of each entry is in `card.report`; doubts,
    among them an input scale that does not fit the preprocessing, are logged and in `card.notes`.

    Args:
        semantics: what foreign weights leave open. P3D: "release" (default; right for weights
            converted from Caffe) or "port" (trained with the PyTorch port). 3-D ResNets:
            "medicalnet", "monai" or "hara", which differ in strides.
        num_classes: what the caller needs; another count in the file is an error. For files without
            a classifier, the size of a fresh one.
    Raises:
        WeightsError: missing, damaged or unknown file, names or shapes that do not fit, a failed
            self-test.
    """
    path = Path(path)
    return _aloud(path, build(path, read_file(path), semantics, num_classes))


def _aloud(path: Path, net: Network) -> Network:
    for note in net.card.notes:
        _log.warning("%s: %s", path, note)
    return net


def build(
    path: Path,
    content: tuple[dict[str, Tensor], str | None],
    semantics: str | None,
    num_classes: int | None,
) -> Network:
    """Do what `load` does with what `read_file` gave, and log nothing."""
    state, text = content
    if text is None:
        net = _build_foreign(path, state, semantics, num_classes)
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
    _check_scale(net)
    return net.eval()


def _check_scale(net: Network) -> None:
    """Note where the weights saw other numbers than the preprocessing gives."""
    if not isinstance(pre := net.card.preprocessing, Preprocessing):
        return  # what a scan's values are, is measured on each data set
    found = input_scale(net, pre)
    if found is not None and not found.fits:
        told = f"{found}. If predictions make no sense, replace card.preprocessing."
        net.card = replace(net.card, notes=(*net.card.notes, told))


def _build(path: Path, state: dict[str, Tensor], text: str) -> Network:
    try:
        card = Card.from_json(text)
        check_sound(card, lambda: create_model(card.name, **card.config), state)
        net = _create(card)
    except Pseudo3dError as err:
        raise WeightsError(f"{path}: {err}") from err
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as err:
        raise WeightsError(f"{path}: metadata cannot be used ({err}); get the file again") from err
    net.card = replace(card, report=_fill(net, state, path))
    if card.self_test is not None:
        _verify(net.eval(), card.self_test, path)
    return net


def _create(card: Card) -> Network:
    with torch.random.fork_rng(devices=[]):  # building draws numbers, not at the caller's cost
        net = create_model(card.name, **card.config).float()  # whatever the default type is
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


def _build_foreign(
    path: Path, state: Mapping[str, Tensor], semantics: str | None, num_classes: int | None
) -> Network:
    choices = Choices(source=str(path), semantics=semantics, num_classes=num_classes)
    found = understand(state, choices)
    classes = None if found.headless else found.config["num_classes"]
    card = foreign_card(found, catalog.of_file(path, found.model, classes))
    try:
        net = _create(card)
    except (ValueError, TypeError) as err:
        raise WeightsError(f"{path}: {found.told} cannot be built: {err}") from err
    net.card = replace(card, report=_fill(net, found.state, path, found))
    return net


def _fill(
    net: Network, state: Mapping[str, Tensor], path: Path, foreign: Foreign | None = None
) -> Report:
    """Copy a state dict into a network after comparing every name and shape."""
    ours = net.state_dict()
    headless = foreign is not None and foreign.headless
    fresh = tuple(k for k in ours if headless and k.startswith("head."))
    if told := misfits(state, ours, fresh):
        raise WeightsError(f"{path}: does not fit {net.name}; {told}. Nothing was loaded.")
    net.load_state_dict(state, strict=not headless)
    return Report(
        source=f"{path} ({foreign.told if foreign else net.name})",
        loaded=tuple(state),
        fresh=fresh,
        reshaped=foreign.reshaped if foreign else (),
        dropped=foreign.dropped if foreign else (),
    )


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
    state, text = content = read_file(path)
    choice, fresh_head = (None, None) if text is not None else as_in(state, net.cfg, path)
    source = _aloud(path, build(path, content, choice, fresh_head))
    theirs, ours = asdict(source.cfg), asdict(net.cfg)
    free = ("num_classes", "dropout", "causal")
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
    report = source.card.report
    keep_head = source.cfg.num_classes == net.cfg.num_classes and not report.fresh
    if classes is not None and source.card.classes is not None:
        keep_head = keep_head and tuple(classes) == source.card.classes
    taken = {k: v for k, v in source.state_dict().items() if keep_head or not k.startswith("head.")}
    net.load_state_dict(taken, strict=keep_head)
    fresh = tuple(k for k in net.state_dict() if k not in taken)
    return replace(report, source=f"{path} ({source.name})", loaded=tuple(taken), fresh=fresh)
