"""What is known of one file of published weights.

A digest is what the publisher, or several independent users of the file, give for it; where nobody
does it is None, never computed from a copy nobody can compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pseudo3d.data.preprocess import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Published:
    """One score as its source states it; nothing about this library's own runs."""

    metric: str
    value: float  # a fraction, as all scores of ours
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One file of published weights."""

    name: str  # network.data[_variant]
    network: str  # of ours, as in `create_model`; options as `load` finds them
    file: str  # its usual name; "" where nobody wrote it down
    address: str  # of the file, or of the page that leads to it
    direct: bool = True  # the address is the file
    sha256: str | None = None  # whole, or the first digits, which some publishers put in the name
    sha1: str | None = None
    license: str
    classes: int | None = None  # None: no classifier
    label_set: str | None = None  # whose classes, in whose order; their names are not in here
    prepare: Mapping[str, Any] | None = None  # fields of Preprocessing
    scores: tuple[Published, ...] = ()
    source: str  # where the scores and the preprocessing stand
    notes: str = ""

    @property
    def preprocessing(self) -> "Preprocessing | None":
        """What the publisher says the network takes."""
        from pseudo3d.data.preprocess import Preprocessing

        return None if self.prepare is None else Preprocessing(**self.prepare)

    @property
    def told_scores(self) -> list[dict[str, Any]]:
        """The scores as plain values."""
        return [vars(score) for score in self.scores]
