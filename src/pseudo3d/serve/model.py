"""The network of a service: loaded while it already answers, and what may be told of it."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.judge import Judge, judge
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.recycle.files import read_file
from pseudo3d.runtime.runner import TORCH, Runner, open_runner
from pseudo3d.serve.original import Original
from pseudo3d.serve.problems import INTERNAL, Problem
from pseudo3d.serve.settings import Settings
from pseudo3d.weights import Card, load

_log = logging.getLogger(__name__)
# of the training, what says nothing of the machine it was done on
_TOLD = (
    "items", "steps", "seed", "task", "clip_seconds", "longest_seconds", "record", "source",
)  # fmt: skip


class Model:
    """A network in one of three states: loading, ready, failed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.error: str | None = None
        self.judge: Judge | None = None  # of videos
        self.card: Card | None = None
        self.precision = "fp32"
        self.original: Original | None = None  # the file that was loaded
        self._network: Network | None = None

    @property
    def ready(self) -> bool:
        """Whether requests can be answered."""
        return self.card is not None

    @property
    def status(self) -> str:
        """For /health."""
        return "failed" if self.error else ("ready" if self.ready else "loading")

    def load(self) -> None:
        """Read the file and make the network fast; what is wrong is kept, not raised."""
        try:
            self._load()
        except (Pseudo3dError, OSError, ImportError, ValueError, TypeError) as err:
            self.error = str(err).replace(str(self.settings.weights), self.settings.weights.name)
            _log.error("%s", err)

    def _load(self) -> None:
        self.original = Original.of(self.settings.weights)
        self.original.read(self._open)

    def _open(self) -> None:
        how = self.settings
        if how.weights.suffix.lower() in TORCH and (card := _scan_card(how.weights)) is not None:
            self.card = card  # scans are looked at where they are read
            return
        run = open_runner(
            how.weights, runtime=how.runtime, precision=how.precision, threads=how.threads
        )
        made = judge(run, how.batch)
        if not isinstance(made.pre, Preprocessing):
            raise Pseudo3dError(
                f"{how.weights} takes scans and is no checkpoint; serve the checkpoint"
            )
        self.precision = run.precision
        self.judge, self.card = made, run.card

    def check_ready(self) -> Card:
        """What the network is.

        Raises:
            Problem: it is not loaded, or cannot be.
        """
        if self.error:
            raise Problem("not_ready", f"the network cannot be loaded: {self.error}")
        if self.card is None:
            raise Problem("not_ready", "the network is being loaded; try again", retry=2)
        return self.card

    def unchanged(self) -> Original:
        """The file, to be read again.

        Raises:
            Problem: nothing was loaded from it.
        """
        self.check_ready()
        if self.original is None:
            raise Problem("internal", INTERNAL)
        return self.original

    @property
    def input(self) -> str:
        """What the network takes: "video" or "scan"."""
        return "video" if self.judge is not None else "scan"

    @property
    def trained(self) -> tuple[float, float]:
        """Typical and longest training clip, s."""
        told = self.check_ready().training
        typical = float(told.get("clip_seconds", 2.0))
        return typical, float(told.get("longest_seconds", typical))

    def __call__(self, clips: Tensor) -> Tensor:
        """Probabilities of clips of bytes."""
        if self.judge is None:
            raise Problem("bad_request", "this network takes scans; send one to /predict")
        return self.judge(clips)

    def network(self) -> Network:
        """The network as it was trained, module by module; opened when it is first wanted.

        Raises:
            Problem: the service runs an exported network, which is one program, or its file was
                changed.
        """
        if self._network is None:
            if self.settings.weights.suffix.lower() not in TORCH:
                raise Problem(
                    "bad_request",
                    "this service runs an exported network, which cannot be looked into; its "
                    "operator can serve the checkpoint instead",
                )
            self._network = self.unchanged().read(lambda: load(self.settings.weights))
        return self._network

    def layers_of(self) -> Network | Runner:
        """What features are taken from."""
        if self.settings.weights.suffix.lower() in TORCH or self.judge is None:
            return self.network()
        return self.judge.run

    def facts(self) -> dict[str, Any]:
        """For /model."""
        card, how = self.check_ready(), self.settings
        pre = card.preprocessing
        video = isinstance(pre, Preprocessing)
        return {
            "name": card.name,
            "classes": list(card.classes or ()),
            "input": self.input,
            "frames": pre.frames if video else None,
            "size": list(pre.size),
            "seconds": self.trained[0] if video else None,
            "protocol": _protocol(card),
            "scores": card.scores,
            "training": {k: v for k, v in card.training.items() if k in _TOLD},
            "preprocessing": pre.to_dict(),
            "precision": self.precision,
            "notes": list(card.notes),
            "limits": how.public_limits(),
            "token_required": how.token is not None,
            "research_use_only": True,
        }


def _scan_card(path: Path) -> Card | None:
    """What a checkpoint for scans says; None for one of videos."""
    from pseudo3d.data.scans.preprocess import ScanPreprocessing

    _, text = read_file(path)
    if text is None or not isinstance(Card.from_json(text).preprocessing, ScanPreprocessing):
        return None
    card = load(path).card  # checks the file; the network itself is not kept here
    if card is None or not card.classes:
        raise Pseudo3dError(f"{path} does not say what its classes are called; save it with them")
    return card


def _protocol(card: Card) -> str:
    """How the scores were made, in words; a score without that says so."""
    told = card.scores.get("protocol") or card.training.get("protocol")
    if told:
        return str(told)
    return "not said in the checkpoint" if card.scores else "no scores in the checkpoint"
