"""Say what a checkpoint file is, what of it a network takes, and what is doubtful about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pseudo3d.models.network import Network
from pseudo3d.recycle.files import read_file
from pseudo3d.recycle.foreign.formats import as_in, recognize
from pseudo3d.recycle.published.catalog import all_records, of_file
from pseudo3d.recycle.published.download import digest_of, hash_of
from pseudo3d.recycle.published.record import Record
from pseudo3d.recycle.scale import InputScale, first_norm, input_scale
from pseudo3d.weights import build


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A checkpoint, looked at."""

    path: Path
    kind: str
    sha256: str
    record: Record | None  # of the catalog: by digest, else by file name
    damaged: bool  # the name is the record's, its digest is not
    network: Network
    scale: InputScale | None
    scale_why: str  # why there is no figure

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        card, report = self.network.card, self.network.card.report
        pre = card.preprocessing
        return {
            "path": str(self.path),
            "bytes": self.path.stat().st_size,
            "sha256": self.sha256,
            "kind": self.kind,
            "record": self.record.name if self.record else None,
            "damaged": self.damaged,
            "network": card.name,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "classes": self.network.cfg.num_classes,
            "class_names": card.classes is not None,
            "preprocessing": pre.to_dict() if pre else None,
            "loaded": len(report.loaded),
            "fresh": list(report.fresh),
            "reshaped": list(report.reshaped),
            "left_out": list(report.dropped),
            "input_scale": str(self.scale) if self.scale else self.scale_why,
            "input_scale_fits": self.scale.fits if self.scale else None,
            "notes": list(card.notes),
            "scores": card.scores,
        }


def inspect(path: str | Path, *, semantics: str | None = None) -> Inspection:
    """Load a checkpoint and report on it; one without a classifier is given a fresh one.

    Args:
        semantics: as in `load`.
    Raises:
        WeightsError: as `load`.
    """
    path = Path(path)
    state, text = content = read_file(path)
    fresh = None if text is not None else as_in(state, _AnyHead(), path)[1]
    kind = "ours" if text is not None else recognize(state, path)
    net = build(path, content, semantics, fresh)
    sha256 = hash_of(path)
    record, damaged = _known(path, sha256, net)
    scale = why = None
    if (pre := net.card.preprocessing) is None:
        why = "not compared: no preprocessing is known"
    elif first_norm(net) is None:
        why = "not compared: no batch norm behind the first convolution"
    elif (scale := input_scale(net, pre)) is None:
        why = "not compared: the first batch norm has seen nothing, or takes other channels"
    return Inspection(
        path=path,
        kind=kind,
        sha256=sha256,
        record=record,
        damaged=damaged,
        network=net,
        scale=scale,
        scale_why=why or "",
    )


class _AnyHead:
    """Stands for a network whose number of classes does not matter."""

    num_classes = 1


def _known(path: Path, sha256: str, net: Network) -> tuple[Record | None, bool]:
    """The record of a file, and whether its digest contradicts it."""
    for one in all_records():
        if one.sha256 is not None and sha256.startswith(one.sha256):
            return one, False
    classes = None if net.card.report.fresh else net.cfg.num_classes
    known = of_file(path, net.card.name, classes)
    if known is None or path.name != known.file or (digest := digest_of(known)) is None:
        return known, False  # a .zip about the file has another digest than the file
    return known, not digest.agrees(path)
