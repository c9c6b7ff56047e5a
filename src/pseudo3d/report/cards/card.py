"""The reproducibility card of a run: `card.json` beside its results, kept from its first moment.

Example:
    >>> with recorded(out / CARD, "train", seeds={"seed": 0}) as card:
    ...     card.add(data=describe_data(manifest))
    ...     train(...)
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pseudo3d.errors import Pseudo3dError
from pseudo3d.lock import sole
from pseudo3d.report.cards.provenance import FORMAT, provenance
from pseudo3d.report.cards.secrets import masked

CARD = "card.json"
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def beside(file: Path) -> Path:
    """Where the card of a single file lies: `pool5.npz` has `pool5.npz.card.json`."""
    return file.with_name(f"{file.name}.{CARD}")


@dataclass
class RunCard:
    """A card that is being kept; what it says is on the disk after every call."""

    path: Path
    facts: dict[str, Any]
    attempts: list[dict[str, Any]] = field(default_factory=list)  # before this one, oldest first
    shown: bool = True  # False: only kept in mind

    def add(self, **more: Any) -> None:
        """Say more: data, inputs, scores; plain values."""
        self.facts |= masked(more)
        self.write()

    def write(self) -> None:
        """Write the file whole. Of several processes of one run only the first does.

        Raises:
            Pseudo3dError: the disk refuses it.
        """
        from pseudo3d.recycle.files import write_file

        if not (self.shown and leads()):
            return
        earlier = [_differing(before, self.facts) for before in self.attempts]
        text = json.dumps({**self.facts, "earlier": earlier}, indent=2)
        write_file(self.path, text.encode())


@contextmanager
def recorded(path: Path, task: str, *, at_once: bool = True, **given: Any) -> Iterator[RunCard]:
    """Keep the card of a run: written when it begins, and when it ends in whatever way it can tell.

    A card that is there already, of an attempt that was killed or of an earlier run into the same
    place, goes on as `earlier`: of each attempt what differed. A folder is taken as `lock.sole`
    does. A command that is refused where a finished run lies leaves its card as it was.

    Args:
        path: `OUT/card.json`, or `beside(OUT)` for a single file.
        at_once: False writes the card when the run has ended well, where nothing else may lie in
            the folder before.
        given: as in `provenance`.
    Raises:
        Pseudo3dError: another process writes into the folder, or the disk refuses.
    """
    with ExitStack() as held:
        if path.name == CARD and leads():
            held.enter_context(sole(path.parent))
        begun = {"task": task, "state": "running", "error": None, "started": _now()}
        facts = {**begun, "ended": None, "seconds": None, **provenance(**given)}
        card, start = RunCard(path, facts, _attempts(path), at_once), time.monotonic()
        card.write()
        try:
            yield card
        except BaseException as err:
            with suppress(OSError, Pseudo3dError):  # the reason of the run's end is what matters
                _failed(card, err, start)
            raise
        card.shown = True
        card.add(state="finished", **_end(start))


def _end(start: float) -> dict[str, Any]:
    """Clocks may be set back meanwhile: the seconds are counted otherwise."""
    return {"ended": _now(), "seconds": round(time.monotonic() - start, 3)}


def _failed(card: RunCard, err: BaseException, start: float) -> None:
    last = card.attempts[-1] if card.attempts else {}
    if isinstance(err, Pseudo3dError) and last.get("state") == "finished":
        card.facts, card.attempts = last, card.attempts[:-1]
        card.write()
        return
    state = "interrupted" if isinstance(err, KeyboardInterrupt) else "failed"
    card.add(state=state, error=f"{type(err).__name__}: {err}", **_end(start))


def leads() -> bool:
    """Whether this process is the first of those that work on one run (torchrun, SLURM)."""
    return all(os.environ.get(name, "0") in ("", "0") for name in _RANKS)


def read_card(path: str | Path) -> dict[str, Any]:
    """A card, by its own path or by the folder or file it belongs to.

    Raises:
        Pseudo3dError: there is none, or it is damaged.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CARD
    elif not path.name.endswith(CARD):
        path = beside(path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Pseudo3dError(
            f"{path} does not exist; wanted the folder or file of a run, or its {CARD}"
        ) from None
    except (OSError, ValueError, RecursionError) as err:
        raise Pseudo3dError(f"{path} cannot be read: {err}; it is no card of a run") from err
    if not _is_card(found):
        raise Pseudo3dError(f"{path} is no card of a run; wanted what a command of pseudo3d wrote")
    if found["format"] > FORMAT:
        raise Pseudo3dError(f"{path} is of a newer pseudo3d; update with `pip install -U pseudo3d`")
    return found


def _is_card(found: Any) -> bool:
    """Whether a file of anybody has the shape that the readers of cards count on."""
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        return False
    tables = [found.get(key) for key in ("packages", "seeds", "data", "pseudo3d", "inputs")]
    if not all(table is None or isinstance(table, dict) for table in tables):
        return False
    rows = [*(tables[-1] or {}).values(), (tables[-2] or {}).get("revision") or {}]
    earlier = found.get("earlier", [])
    return isinstance(earlier, list) and all(isinstance(row, dict) for row in [*rows, *earlier])


def _attempts(path: Path) -> list[dict[str, Any]]:
    """Every attempt before this one, each with all it said."""
    try:
        before = read_card(path)
    except Pseudo3dError:
        return []
    earlier = before.pop("earlier", [])
    return [*({**before, **e} for e in earlier), before]


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in before.items() if now.get(key) != value}
    if told.get("packages") is not None:  # of many packages only those that changed
        new = now.get("packages", {})
        told["packages"] = {k: v for k, v in told["packages"].items() if new.get(k) != v}
    return told


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
