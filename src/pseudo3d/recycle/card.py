"""What a checkpoint says beside its weights."""

import json
from dataclasses import dataclass, field, fields
from typing import Any

from pseudo3d.data.scans.preprocess import any_preprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.recycle.foreign.kinds import Foreign, Report
from pseudo3d.recycle.published.record import Record

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says beside its weights."""

    name: str  # as in `create_model`
    config: dict[str, Any]  # every field of the network's config
    classes: tuple[str, ...] | None = None
    preprocessing: Any = None  # Preprocessing of videos or ScanPreprocessing, or None
    task: str = "classify"
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    version: str = ""  # of the package that wrote the file
    self_test: dict[str, Any] | None = None  # seed, shape of the clip, first logits
    notes: tuple[str, ...] = ()
    report: Report | None = field(default=None, compare=False)  # of loading; not in the file

    def to_json(self) -> str:
        """As one line of JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "report"}
        if self.preprocessing is not None:
            plain["preprocessing"] = self.preprocessing.to_dict()
        return json.dumps({"format": _FORMAT, **plain}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Back from `to_json`; lists become tuples again."""
        plain = json.loads(text)
        for key in ("config", "training", "scores"):
            if not isinstance(plain[key], dict):
                raise WeightsError(f"its {key} is {str(plain[key])[:99]}; get the file again")
        if plain["self_test"] is not None and not isinstance(plain["self_test"], dict):
            raise WeightsError("its self-test is damaged; get the file again")
        if plain.pop("format") != _FORMAT:
            raise WeightsError("written by a newer pseudo3d; update with `pip install -U pseudo3d`")
        for key in ("classes", "notes", "config"):
            plain[key] = _tuples(plain[key])
        if plain["preprocessing"] is not None:
            plain["preprocessing"] = any_preprocessing(plain["preprocessing"])
        return cls(**plain)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def foreign_card(found: Foreign, record: Record | None) -> Card:
    """What is known of foreign weights: from the catalog, else what their kind suggests."""
    fresh = (f"the classifier is fresh, to be trained ({found.told})",) if found.headless else ()
    if record is None:
        return Card(
            name=found.model,
            config=found.config,
            preprocessing=found.preprocessing,
            notes=(*fresh, *found.notes),
        )
    return Card(
        name=found.model,
        config=found.config,
        preprocessing=record.preprocessing,
        training={"record": record.name, "source": record.source},
        scores={"published": record.told_scores} if record.scores else {},
        notes=fresh,
    )
