"""What another project's checkpoint turns out to be, and what the readers of such files share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError

State = Mapping[str, Tensor]
BlockName = Literal["basic", "bottleneck"]
Kind = Literal[
    "ours", "published", "caffe", "gluon", "author2021", "resnet", "tsm", "video", "resnet3d", "c3d"
]
_TRACKED = "num_batches_tracked"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the caller says because the file cannot."""

    source: str  # what to call the file in messages
    semantics: str | None = None
    num_classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A checkpoint of another project, understood."""

    told: str  # what it is, in words
    model: str  # as in `create_model`
    config: dict[str, Any]
    state: dict[str, Tensor]  # under our names, in our shapes
    reshaped: tuple[str, ...] = ()  # what was changed on the way, in words
    dropped: tuple[str, ...] = ()  # entries our network has no place for
    headless: bool = False  # no classifier in the file: ours is fresh
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of foreign checkpoint: how it is told from others, and how it is read."""

    kind: Kind
    told: str  # in the list of what is known
    fits: Callable[[State], bool]
    read: Callable[[State, Choices], Foreign]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of each entry when a network was started from other weights."""

    source: str
    loaded: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()  # what was changed on the way, in words
    dropped: tuple[str, ...] = ()  # entries of the file without a place in the network
    error: float | None = (
        None  # greatest difference from the 2-D network, relative; None: not compared
    )

    def __str__(self) -> str:
        lines = [f"from {self.source}", f"  loaded: {len(self.loaded)} entries"]
        lines += [f"  reshaped: {text}" for text in self.reshaped]
        lines.append(f"  fresh: {shorten(self.fresh) if self.fresh else 'nothing'}")
        if self.dropped:
            lines.append(f"  left out: {shorten(self.dropped)}")
        if self.error is not None:
            lines.append(
                f"  equal to the 2-D network on single frames to {self.error:.1e} (relative, "
                "features)"
            )
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Names:
    """Another project's names of parts, and ours."""

    outer: Mapping[str, str]  # conv1 -> stem.conv
    inner: Mapping[str, str]  # of a block: conv2 -> pair.space
    leaves: Mapping[str, str] = field(default_factory=dict)  # gamma -> weight

    def of(self, key: str) -> str:
        """layer2.0.conv3.weight -> stages.1.0.expand.weight; an unknown name stays as it is."""
        part, _, leaf = key.rpartition(".")
        leaf = self.leaves.get(leaf, leaf)
        if part in self.outer:
            return f"{self.outer[part]}.{leaf}"
        stage, _, rest = part.partition(".")
        block, _, inner = rest.partition(".")
        number = stage.removeprefix("layer")
        if number == stage or not number.isdigit() or inner not in self.inner:
            return key
        return f"stages.{int(number) - 1}.{block}.{self.inner[inner]}.{leaf}"

    def apply(self, state: State) -> dict[str, Tensor]:
        """Put a whole state dict under our names; every batch norm gets its counter."""
        return with_counters({self.of(key): value for key, value in state.items()})


def shorten(names: Iterable[str], most: int = 4) -> str:
    """The first few names and how many there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def stage_depths(state: State, prefix: str = "layer") -> tuple[int, ...]:
    """Blocks per stage, counted from names such as layer3.5.conv1.weight."""
    seen: dict[int, set[int]] = {}
    for key in state:
        stage, *rest = key.split(".")
        number = stage.removeprefix(prefix)
        if number != stage and number.isdigit() and rest and rest[0].isdigit():
            seen.setdefault(int(number), set()).add(int(rest[0]))
    return tuple(max(seen[k]) + 1 for k in sorted(seen))


def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give every batch norm its counter of batches, which old files lack."""
    for key in [k for k in state if k.endswith(".running_var")]:
        state.setdefault(key.replace("running_var", _TRACKED), torch.tensor(0))
    return state


def deepened(state: dict[str, Tensor], kernels: Iterable[str]) -> tuple[dict[str, Tensor], int]:
    """Give the kernels named an axis of time, k x k to 1 x k x k; how many needed it."""
    flat = [k for k in kernels if state[k].ndim == 4]
    return {**state, **{k: state[k][:, :, None] for k in flat}}, len(flat)


def require_entries(state: State, names: Iterable[str], told: str, source: str) -> None:
    """Refuse a file that lacks what its kind cannot be without.

    Raises:
        WeightsError: an entry is missing.
    """
    if lacking := [k for k in names if k not in state]:
        raise WeightsError(f"{source}: {told} without {', '.join(lacking)}")


def refuse_semantics(choices: Choices, told: str, *known: str) -> None:
    """Refuse a choice of semantics that these weights do not leave.

    Raises:
        WeightsError: `semantics` is none of `known`, the first of which is the default.
    """
    if choices.semantics in (None, *known):
        return
    wanted = " or ".join(map(repr, known)) if known else "none: leave it out"
    raise WeightsError(
        f"{choices.source}: {told}, semantics={choices.semantics!r}; wanted {wanted}"
    )


def classifier(state: State, choices: Choices, told: str, name: str = "fc") -> tuple[int, bool]:
    """Number of classes and whether the file lacks a classifier.

    Raises:
        WeightsError: no classifier, and the caller does not say how many classes a fresh one has.
    """
    if f"{name}.weight" in state:
        return state[f"{name}.weight"].shape[0], False
    if choices.num_classes is None:
        raise WeightsError(
            f"{choices.source}: {told} without a classifier; say how many classes a fresh one "
            "shall have, load(path, num_classes=N), and train it"
        )
    return choices.num_classes, True


def imagenet(*, frames: int = 16, resize: int = 256, crop: int = 224) -> Preprocessing:
    """RGB in [0, 1] less ImageNet's mean, over its standard deviation; frames over the video."""
    return Preprocessing(
        frames=frames,
        resize=resize,
        size=(crop, crop),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
